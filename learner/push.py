"""The open Push streams: records of the actors go to the ingest, acknowledgements come back."""

from __future__ import annotations

import asyncio
from collections.abc import Buffer, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc.aio import ServicerContext as Context

from episodes.image_codec import ImageCodec
from episodes.spool_position import RecordError
from learner.ingest import Ingest, IngestError, Progress
from learner.refusals import WrongRunError, abort, refuse, stopping
from transport import service_pb2 as pb
from transport.plain_text import plain_text
from transport.push import ReceivedBatch, decode_batch
from transport.rate import Rate
from transport.strangers import UNDECODABLE_TEXT

IDLE_BATCHES = (20.0, 30)
"""Batches of a stream without anything new: a second, and at once after a pause. Others wait."""


class PushStream:
    """One open Push."""

    def __init__(self) -> None:
        self.spool_id = ""
        self.superseded = False
        self.idle = Rate(*IDLE_BATCHES)
        self.changed = asyncio.Event()
        self.room = asyncio.Event()

    def wake(self) -> None:
        self.changed.set()
        self.room.set()


class PushStreams:
    """Everything but the constructor is called in the service's event loop.

    Args:
        run_id: Of the run served.
        ingest: Takes the records.
        images: Restores what an actor compressed.
        most_bytes: Of the observations of a batch, restored.
        acted: Told which policy version a spool's newest training step was acted by.
    """

    def __init__(
        self, run_id: str, ingest: Ingest, images: ImageCodec, most_bytes: int, acted: Callable[[str, int], None]
    ):
        self._run_id = run_id
        self._ingest = ingest
        self._images = images
        self._most_bytes = most_bytes
        self._acted = acted
        self._streams: dict[str, PushStream] = {}
        self._stopping = False

    def wake(self) -> None:
        """Something was acknowledged, drained, credited or finished."""
        for stream in self._streams.values():
            stream.wake()

    def stop(self) -> None:
        """Ends every open stream."""
        self._stopping = True
        self.wake()

    async def serve(self, context: Context) -> None:
        """One Push, from its first batch to its end."""
        stream = PushStream()
        reader = asyncio.create_task(self._read(stream, context))
        reader.add_done_callback(lambda _: stream.changed.set())
        told = None
        try:
            while True:
                await stream.changed.wait()
                stream.changed.clear()
                if stream.superseded:
                    await abort(context, grpc.StatusCode.ABORTED, "a newer Push of this spool took over")
                if stream.spool_id and (progress := self._ingest.progress(stream.spool_id)) != told:
                    told = progress
                    await context.write(
                        pb.Acknowledgement(
                            sequence=progress.sequence,
                            step_credit=progress.step_credit,
                            finished=progress.finished,
                            finished_reason=progress.finished_reason,
                            replaced=progress.replaced,
                            fault=plain_text(progress.fault),
                        )
                    )
                if reader.done() and await self._ended(stream, reader, told, context):
                    return
                if self._stopping:
                    if told is not None and told.finished:
                        return
                    await stopping(context)
        finally:
            reader.cancel()
            if stream.spool_id:
                self._ingest.connected(stream.spool_id, -1)
                if self._streams.get(stream.spool_id) is stream:
                    del self._streams[stream.spool_id]

    async def _ended(
        self, stream: PushStream, reader: asyncio.Task[None], told: Progress | None, context: Context
    ) -> bool:
        """After the actor's last batch, or one refused: whether the actor was told that all before it is in the log."""
        error = reader.exception()
        if isinstance(error, IngestError):
            await refuse(context, error)
        if stream.spool_id and (told is None or told.sequence < self._ingest.accepted_sequence(stream.spool_id)):
            return False
        if isinstance(error, RecordError):
            await refuse(context, error)
        if error is not None:
            raise error
        return True

    async def _read(self, stream: PushStream, context: Context) -> None:
        """Takes batches until the actor closes its side; waits while the update loop is behind."""
        while (batch := await _read_batch(context)) is not grpc.aio.EOF:
            head = batch.head
            if head.run_id != self._run_id:
                raise WrongRunError(self._run_id, head.run_id)
            if not stream.spool_id:
                self._ingest.accept(head.spool_id, ())
                self._open(stream, head.spool_id)
            elif head.spool_id != stream.spool_id:
                raise RecordError(
                    f"spool_id must be {stream.spool_id!r} in every batch of this stream. Got: {head.spool_id[:160]!r}"
                )
            if stream.superseded:
                return
            before = self._ingest.accepted_sequence(stream.spool_id)
            self._ingest.accept(stream.spool_id, self._restored(batch))
            if self._ingest.accepted_sequence(stream.spool_id) == before and (wait_s := stream.idle.wait_s()) > 0:
                await asyncio.sleep(wait_s)
            if (version := self._ingest.acting_version(stream.spool_id)) is not None:
                self._acted(stream.spool_id, version)
            while self._ingest.full:
                stream.room.clear()
                await stream.room.wait()

    def _restored(self, batch: ReceivedBatch) -> Sequence[Buffer]:
        """The serialized records of a batch, its images as they were before compression."""
        if batch.head.compression == pb.COMPRESSION_NONE:
            return batch.records
        if batch.head.compression != pb.COMPRESSION_ZLIB:
            known = sorted(pb.Compression.values())
            raise RecordError(f"compression must be one of {known}. Got: {batch.head.compression}")
        try:
            return self._images.restore(batch.records, self._most_bytes)
        except DecodeError:
            raise RecordError(UNDECODABLE_TEXT) from None

    def _open(self, stream: PushStream, spool_id: str) -> None:
        older = self._streams.get(spool_id)
        if older is not None:
            older.superseded = True
            older.wake()
        stream.spool_id = spool_id
        self._streams[spool_id] = stream
        self._ingest.connected(spool_id, 1)
        stream.wake()


async def _read_batch(context: Context) -> Any:
    data = await context.read()
    if data is grpc.aio.EOF:
        return data
    try:
        return decode_batch(data)
    except DecodeError:
        raise RecordError(UNDECODABLE_TEXT) from None
