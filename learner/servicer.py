"""What each call of ``tandem.v1.Learner`` does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from grpc.aio import ServicerContext as Context

from episodes.contract import Contract, ContractError
from episodes.contract_differences import difference_lines, differences
from episodes.image_codec import ImageCodec
from episodes.validation import check_amendment
from learner.ingest import Ingest
from learner.publisher import PolicyPublisher
from learner.pull import PullStreams
from learner.push import PushStreams
from learner.refusals import REFUSALS, WrongRunError, abort, refuse
from transport import service_pb2 as pb
from transport import service_pb2_grpc
from transport.channel import PROTOCOL

WINDOW_BYTES = 16 << 20
TELL_EVERY_S = 0.1
"""Least time between two acknowledgements while the update loop is busy; what comes meanwhile is told together."""


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
        images = ImageCodec(self._contract.stored)
        self._pushes = PushStreams(run.run_id, ingest, images, max_message_bytes, publisher.lag.acted)
        self._pulls = PullStreams(publisher)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._progress_due = self._policy_due = False
        self._told_s = float("-inf")

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ingest.on_change(self._on_progress)
        self._publisher.on_change(self._on_policy)

    def detach(self) -> None:
        """Ends every open stream."""
        self._ingest.on_change(_nothing)
        self._publisher.on_change(_nothing)
        self._pushes.stop()
        self._pulls.stop()

    async def Describe(self, request: pb.DescribeRequest, context: Context) -> pb.RunDescription:  # noqa: N802
        await self._check_protocol(request.protocol, context)
        return self._run

    async def Join(self, request: pb.JoinRequest, context: Context) -> pb.JoinReply:  # noqa: N802
        await self._check_protocol(request.protocol, context)
        await self._check_run(request.run_id, context)
        try:
            contract = Contract.from_message(request.contract)
        except ContractError as error:
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, f"contract: {error}")
        if differing := differences(self._contract, contract):
            lines = "\n".join(f"  {line}" for line in difference_lines(differing))
            await abort(
                context,
                grpc.StatusCode.FAILED_PRECONDITION,
                f"the actor's contract differs from this run's:\n{lines}\nStart the actor with this run's settings "
                "and the same version of Tandem, or the learner with the actor's",
            )
        try:
            acknowledged = self._ingest.join(
                request.spool_id,
                request.actor,
                takeover=request.takeover,
                deliver_only=request.deliver_only,
                claim=request.claim,
            )
        except REFUSALS as error:
            await refuse(context, error)
        if request.takeover or request.claim:
            self._pushes.wake()
        return pb.JoinReply(
            acknowledged=acknowledged,
            window_bytes=WINDOW_BYTES,
            max_message_bytes=self._max_message_bytes,
            replaced=self._ingest.progress(request.spool_id).replaced,
            claim=self._ingest.claim(request.spool_id),
        )

    async def Push(self, request_iterator: Any, context: Context) -> None:  # noqa: N802
        await self._pushes.serve(context)

    async def PullPolicy(self, request: pb.PullPolicyRequest, context: Context) -> None:  # noqa: N802
        await self._check_run(request.run_id, context)
        try:
            self._ingest.accept(request.spool_id, ())
        except REFUSALS as error:
            await refuse(context, error)
        await self._pulls.serve(request, context)

    async def AmendEpisode(  # noqa: N802
        self, request: pb.AmendEpisodeRequest, context: Context
    ) -> pb.AmendEpisodeReply:
        await self._check_run(request.run_id, context)
        episode_id = request.amendment.episode_id
        try:
            check_amendment(request.amendment)
            if not await asyncio.to_thread(self._ingest.knows_episode, episode_id):
                await abort(context, grpc.StatusCode.NOT_FOUND, f"amendment.episode_id: no episode {episode_id!r}")
            await asyncio.wrap_future(self._ingest.amend(request.amendment))
        except REFUSALS as error:
            await refuse(context, error)
        return pb.AmendEpisodeReply(applied=True)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.Status:  # noqa: N802
        return self._status_fn()

    async def _check_protocol(self, protocol: int, context: Context) -> None:
        if protocol != PROTOCOL:
            await abort(
                context,
                grpc.StatusCode.FAILED_PRECONDITION,
                f"protocol: expected {PROTOCOL}, got {protocol}. Install the same version of Tandem on both sides",
            )

    async def _check_run(self, run_id: str, context: Context) -> None:
        if run_id != self._run.run_id:
            await refuse(context, WrongRunError(self._run.run_id, run_id))

    def _on_progress(self) -> None:
        """Called by the writer and the update loop; many calls before the event loop comes to it are one."""
        if self._loop is not None and (not self._progress_due or self._ingest.awaited):
            self._progress_due = True
            self._schedule(self._tell_in_time)

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

    def _tell_in_time(self) -> None:
        assert self._loop is not None
        early_s = self._told_s + TELL_EVERY_S - self._loop.time()
        if early_s > 0 and not self._ingest.awaited:
            self._loop.call_later(early_s, self._tell_streams)
        else:
            self._tell_streams()

    def _tell_streams(self) -> None:
        assert self._loop is not None
        self._progress_due, self._told_s = False, self._loop.time()
        self._pushes.wake()

    def _tell_pulls(self) -> None:
        self._policy_due = False
        self._pulls.wake()


def _nothing() -> None:
    pass
