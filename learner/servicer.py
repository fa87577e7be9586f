"""What each call of ``tandem.v1.Learner`` does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc.aio import ServicerContext as Context

from episodes.contract import Contract, ContractError, differences
from episodes.spool_position import RecordError, SequenceGapError
from episodes.validation import check_amendment
from learner.ingest import Ingest, IngestError, NotJoinedError, Progress, SpoolLimitError
from learner.publisher import PolicyPublisher
from transport import service_pb2 as pb
from transport import service_pb2_grpc
from transport.channel import PROTOCOL
from transport.server import UNDECODABLE_TEXT

WINDOW_BYTES = 16 << 20
MAX_DETAILS = 4000
"""Characters of a status text: clients refuse more metadata than 8 kB."""
ACKNOWLEDGE_EVERY_S = 0.002
"""Least time between two acknowledgements of one stream; what comes meanwhile is told together."""


class WrongRunError(RecordError):
    """Records of another run."""


_CODES: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (SequenceGapError, grpc.StatusCode.OUT_OF_RANGE),
    (WrongRunError, grpc.StatusCode.FAILED_PRECONDITION),
    (NotJoinedError, grpc.StatusCode.FAILED_PRECONDITION),
    (SpoolLimitError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (RecordError, grpc.StatusCode.INVALID_ARGUMENT),
    (IngestError, grpc.StatusCode.UNAVAILABLE),
)
_REFUSALS = (RecordError, IngestError)


class LearnerServicer(service_pb2_grpc.LearnerServicer):
    """Runs in the event loop given to ``attach``; the ingest and the publisher wake it from other threads."""

    def __init__(
        self,
        run: pb.RunDescription,
        ingest: Ingest,
        publisher: PolicyPublisher,
        status_fn: Callable[[], pb.Status],
        max_message_bytes: int,
    ):
        self._run = run
        self._contract = Contract.from_message(run.contract)
        self._ingest = ingest
        self._publisher = publisher
        self._status_fn = status_fn
        self._max_message_bytes = max_message_bytes
        self._streams: dict[str, _PushStream] = {}
        self._pulls: set[asyncio.Event] = set()
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._progress_due = self._policy_due = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ingest.on_change(self._on_progress)
        self._publisher.on_change(self._on_policy)

    def detach(self) -> None:
        """Ends every open stream."""
        self._ingest.on_change(_nothing)
        self._publisher.on_change(_nothing)
        self._stopping = True
        self._tell_streams()
        self._tell_pulls()

    async def Describe(self, request: pb.DescribeRequest, context: Context) -> pb.RunDescription:  # noqa: N802
        await self._check_protocol(request.protocol, context)
        return self._run

    async def Join(self, request: pb.JoinRequest, context: Context) -> pb.JoinReply:  # noqa: N802
        await self._check_protocol(request.protocol, context)
        await self._check_run(request.run_id, context)
        try:
            contract = Contract.from_message(request.contract)
        except ContractError as error:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, f"contract: {error}")
        if differing := differences(self._contract, contract):
            lines = "\n".join(str(difference) for difference in differing[:50])
            await _abort(
                context,
                grpc.StatusCode.FAILED_PRECONDITION,
                f"the actor's contract differs from this run's:\n{lines}\nStart the actor with this run's settings "
                "and the same version of Tandem, or the learner with the actor's",
            )
        try:
            acknowledged = self._ingest.join(request.spool_id, request.actor)
        except _REFUSALS as error:
            await _refuse(context, error)
        return pb.JoinReply(
            acknowledged=acknowledged, window_bytes=WINDOW_BYTES, max_message_bytes=self._max_message_bytes
        )

    async def Push(self, request_iterator: Any, context: Context) -> None:  # noqa: N802
        stream = _PushStream()
        reader = asyncio.create_task(self._read(stream, context))
        reader.add_done_callback(lambda _: stream.changed.set())
        told = None
        try:
            while True:
                await stream.changed.wait()
                stream.changed.clear()
                if stream.superseded:
                    await _abort(context, grpc.StatusCode.ABORTED, "a newer Push of this spool took over")
                if stream.spool_id and (progress := self._ingest.progress(stream.spool_id)) != told:
                    told = progress
                    await context.write(
                        pb.Acknowledgement(
                            sequence=progress.sequence,
                            step_credit=progress.step_credit,
                            finished=progress.finished,
                            finished_reason=progress.finished_reason,
                        )
                    )
                if reader.done() and await self._ended(stream, reader, told, context):
                    return
                if self._stopping:
                    if told is not None and told.finished:
                        return
                    await _stopping(context)
                await asyncio.sleep(ACKNOWLEDGE_EVERY_S)
        finally:
            reader.cancel()
            if stream.spool_id:
                self._ingest.connected(stream.spool_id, -1)
                if self._streams.get(stream.spool_id) is stream:
                    del self._streams[stream.spool_id]

    async def _ended(
        self, stream: _PushStream, reader: asyncio.Task[None], told: Progress | None, context: Context
    ) -> bool:
        """After the actor's last batch, or one refused: whether the actor was told that all before it is in the log."""
        error = reader.exception()
        if isinstance(error, IngestError):
            await _refuse(context, error)
        if stream.spool_id and (told is None or told.sequence < self._ingest.accepted_sequence(stream.spool_id)):
            return False
        if isinstance(error, RecordError):
            await _refuse(context, error)
        if error is not None:
            raise error
        return True

    async def _read(self, stream: _PushStream, context: Context) -> None:
        """Takes batches until the actor closes its side; waits while the update loop is behind."""
        while (batch := await _read_batch(context)) is not grpc.aio.EOF:
            if batch.run_id != self._run.run_id:
                raise WrongRunError(self._wrong_run(batch.run_id))
            if not stream.spool_id:
                self._ingest.accept(batch.spool_id, ())
                self._open(stream, batch.spool_id)
            elif batch.spool_id != stream.spool_id:
                raise RecordError(
                    f"spool_id must be {stream.spool_id!r} in every batch of this stream. Got: {batch.spool_id[:160]!r}"
                )
            if stream.superseded:
                return
            self._ingest.accept(stream.spool_id, batch.records)
            while self._ingest.full:
                stream.room.clear()
                await stream.room.wait()

    def _open(self, stream: _PushStream, spool_id: str) -> None:
        older = self._streams.get(spool_id)
        if older is not None:
            older.superseded = True
            older.wake()
        stream.spool_id = spool_id
        self._streams[spool_id] = stream
        self._ingest.connected(spool_id, 1)
        stream.wake()

    async def PullPolicy(  # noqa: N802
        self, request: pb.PullPolicyRequest, context: Context
    ) -> AsyncIterator[pb.PolicyChunk]:
        await self._check_run(request.run_id, context)
        changed = asyncio.Event()
        self._pulls.add(changed)
        try:
            while (
                policy := self._publisher.newer(request.spool_id, request.have_version, request.have_evaluation)
            ) is None:
                if self._stopping:
                    await _stopping(context)
                await changed.wait()
                changed.clear()
        finally:
            self._pulls.discard(changed)
        for chunk in policy.chunks():
            if self._stopping:
                await _stopping(context)
            yield chunk

    async def AmendEpisode(  # noqa: N802
        self, request: pb.AmendEpisodeRequest, context: Context
    ) -> pb.AmendEpisodeReply:
        await self._check_run(request.run_id, context)
        episode_id = request.amendment.episode_id
        try:
            check_amendment(request.amendment)
            if not await asyncio.to_thread(self._ingest.knows_episode, episode_id):
                await _abort(context, grpc.StatusCode.NOT_FOUND, f"amendment.episode_id: no episode {episode_id!r}")
            await asyncio.wrap_future(self._ingest.amend(request.amendment))
        except _REFUSALS as error:
            await _refuse(context, error)
        return pb.AmendEpisodeReply(applied=True)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.Status:  # noqa: N802
        return self._status_fn()

    async def _check_protocol(self, protocol: int, context: Context) -> None:
        if protocol != PROTOCOL:
            await _abort(
                context,
                grpc.StatusCode.FAILED_PRECONDITION,
                f"protocol: expected {PROTOCOL}, got {protocol}. Install the same version of Tandem on both sides",
            )

    async def _check_run(self, run_id: str, context: Context) -> None:
        if run_id != self._run.run_id:
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, self._wrong_run(run_id))

    def _wrong_run(self, run_id: str) -> str:
        return (
            f"run_id: expected {self._run.run_id!r}, got {run_id[:160]!r}. This learner serves another run. To go on "
            "with the other, start its learner with its folder: tandem learner run=FOLDER. To take part in this one, "
            "start the actor again"
        )

    def _on_progress(self) -> None:
        """Called by the writer and the update loop; many calls before the event loop comes to it are one."""
        if not self._progress_due and self._loop is not None:
            self._progress_due = True
            self._schedule(self._tell_streams)

    def _on_policy(self) -> None:
        if not self._policy_due and self._loop is not None:
            self._policy_due = True
            self._schedule(self._tell_pulls)

    def _schedule(self, tell: Callable[[], None]) -> None:
        try:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:
            self._loop = None

    def _tell_streams(self) -> None:
        self._progress_due = False
        for stream in self._streams.values():
            stream.wake()

    def _tell_pulls(self) -> None:
        self._policy_due = False
        for changed in self._pulls:
            changed.set()


class _PushStream:
    """One open Push."""

    def __init__(self) -> None:
        self.spool_id = ""
        self.superseded = False
        self.changed = asyncio.Event()
        self.room = asyncio.Event()

    def wake(self) -> None:
        self.changed.set()
        self.room.set()


async def _read_batch(context: Context) -> Any:
    try:
        return await context.read()
    except DecodeError:
        raise RecordError(UNDECODABLE_TEXT) from None


async def _abort(context: Context, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, text if len(text) <= MAX_DETAILS else text[:MAX_DETAILS] + " ...")
    raise AssertionError("abort returned")


async def _refuse(context: Context, error: BaseException) -> NoReturn:
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    await _abort(context, code, str(error))


async def _stopping(context: Context) -> NoReturn:
    await _abort(context, grpc.StatusCode.UNAVAILABLE, "the learner is stopping: keep your records and connect again")


def _nothing() -> None:
    pass
