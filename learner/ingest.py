"""From the streams of the actors into the episode log, and from there to the update loop.

    streams (service thread) --accept--> writer thread: append, sync, acknowledge --queue--drain--> update loop

Nothing is acknowledged, and nothing reaches the update loop, before the append (with ``log.sync=commit``, the sync).
"""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from itertools import accumulate
from typing import NamedTuple

from episodes.contract import Interface
from episodes.layout import ObservationLayout
from episodes.log import EpisodeLog
from episodes.log_segment import FRAME
from episodes.spool_position import SpoolPosition
from episodes.validation import RecordError, check_amendment, check_identifier, check_record, reward_range
from learner.ingest_spool import Batch, Spool, SpoolStatus
from transport import records_pb2 as pb

__all__ = ["Ingest", "IngestError", "NotJoinedError", "Progress", "SpoolLimitError", "SpoolStatus"]

MAX_SPOOLS = 256
QUEUE_BYTES = 256 << 20
MAX_UNHEARD_EVALUATIONS = 1 << 20
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_FULL_DISK_RETRY_S = 0.5
_GATHER_S = 0.002
"""How long the writer lets batches gather for one append: waking for each costs more than the append."""


class IngestError(RuntimeError):
    """The log cannot be written any more, or the ingest is closed."""


class SpoolLimitError(RecordError):
    """More spools than a run takes."""


class NotJoinedError(RecordError):
    """Records of a spool that did not join."""


class Progress(NamedTuple):
    """What an actor is told: see ``tandem.v1.Acknowledgement``."""

    sequence: int
    step_credit: int
    finished: bool
    finished_reason: str


class Ingest:
    """One per run. ``join``, ``accept`` and ``amend`` are called by the service's thread, the rest by any."""

    def __init__(self, log: EpisodeLog, interface: Interface, *, queue_bytes: int = QUEUE_BYTES):
        """``log`` is written by this alone from now on. ``queue_bytes`` bounds what is accepted and not yet drained."""
        self._log = log
        self._layout = ObservationLayout(interface)
        self._action_size = interface.action.shape[0]
        self._rewards = reward_range(interface.reward)
        self._queue_bytes = queue_bytes
        self._spools = {spool_id: Spool(position) for spool_id, position in log.positions().items()}
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._arrived = threading.Event()
        self._pending: list[Batch] = []
        self._held_bytes = 0
        self._queue: deque[tuple[int, pb.LogEntry]] = deque()
        self._drained_offset = log.end
        self._finished: str | None = None
        self._closing = False
        self._failure: BaseException | None = None
        self._fault = ""
        self._episodes = {
            position.episode_id for position in log.positions().values()
        }  # about 150 bytes an episode, of which the log has kilobytes
        self._earlier_end: int | None = log.end
        self._newest_evaluation = 0
        self._on_change: Callable[[], None] = _nothing
        self._writer = threading.Thread(target=self._write, name="log-writer", daemon=True)
        self._writer.start()

    # Called by the service.

    def on_change(self, callback: Callable[[], None]) -> None:
        """``callback`` is called, from any thread, after something was acknowledged, drained, credited or finished."""
        self._on_change = callback

    def join(self, spool_id: str, actor: str) -> int:
        """Registers a spool and returns its last sequence number in the log; 0 for none. Raises RecordError."""
        check_identifier("spool_id", spool_id)
        check_identifier("actor", actor)
        spool = self._spools.get(spool_id)
        if spool is None:
            if len(self._spools) >= MAX_SPOOLS:
                raise SpoolLimitError(f"this run takes at most {MAX_SPOOLS} spools. Got one more: {spool_id!r}")
            spool = Spool(SpoolPosition())
            self._spools = {**self._spools, spool_id: spool}
        spool.accepted.actor = actor
        spool.joined = True
        spool.heard_s = time.monotonic()
        return spool.logged.sequence

    def connected(self, spool_id: str, streams: int) -> None:
        """Adds ``streams`` (1 or -1) to the open streams of a spool."""
        self._spools[spool_id].streams += streams

    def accept(self, spool_id: str, records: Iterable[pb.Record]) -> None:
        """Takes records for the log; those received before are dropped silently.

        Raises SequenceGapError for records that do not follow, RecordError for malformed ones, NotJoinedError, and
        IngestError when the log cannot be written: then nothing of ``records`` is taken.
        """
        spool = self._spools.get(spool_id)
        if spool is None or not spool.joined:
            raise NotJoinedError(f"spool {spool_id[:160]!r} has not joined this learner: call Join first")
        spool.heard_s = time.monotonic()
        position = spool.accepted.copy()
        batch = Batch({spool_id: position})
        received, actor = position.sequence, position.actor
        for index, record in enumerate(records):
            if record.sequence <= received:
                continue
            try:
                check_record(record, self._layout, self._action_size, self._rewards)
                position.advance(record)
                if record.HasField("start"):
                    self._check_new(record.start, batch)
            except RecordError as error:
                raise type(error)(f"records[{index}] (sequence {record.sequence}): {error}") from None
            received = position.sequence
            batch.add(spool_id, actor, record)
        if batch.entries:
            self._submit(batch)
            spool.accepted = position
            spool.note(batch.entries[-1].record)
            self._episodes |= batch.started
            self._newest_evaluation = max(self._newest_evaluation, batch.newest_evaluation)

    def note_earlier(self, entry: pb.LogEntry) -> None:
        """Takes an entry of an earlier process, so that its episode is known. May be called by the update loop."""
        if entry.record.HasField("start"):
            self._episodes.add(entry.record.start.episode_id)
            self._newest_evaluation = max(self._newest_evaluation, entry.record.start.evaluation_id)

    def knows_episode(self, episode_id: str) -> bool:
        """Whether the log has the episode, or will. The first unknown one has the log read: call off the event loop."""
        if episode_id not in self._episodes and (end := self._earlier_end):
            for offset, entry in self._log.read():
                self.note_earlier(entry)
                if offset >= end:
                    break
            self._earlier_end = None
        return episode_id in self._episodes

    def amend(self, amendment: pb.Amendment) -> Future[None]:
        """Logs an amendment as the learner's own entry; the future ends when it is in the log. Raises RecordError."""
        check_amendment(amendment)
        if "" not in self._spools:
            self._spools = {**self._spools, "": Spool(SpoolPosition(actor="learner"))}
        spool = self._spools[""]
        position = spool.accepted.copy()
        record = pb.Record(sequence=position.sequence + 1, amendment=amendment)
        position.advance(record)
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()
        batch = Batch({"": position}, done)
        batch.add("", "learner", record)
        self._submit(batch)
        spool.accepted = position
        return done

    @property
    def full(self) -> bool:
        """Whether more is accepted and not drained than the budget: streams are then not read."""
        return self._held_bytes > self._queue_bytes

    def progress(self, spool_id: str) -> Progress:
        """What the actor of this spool is to know now."""
        spool, finished = self._spools[spool_id], self._finished
        return Progress(spool.logged.sequence, spool.credit, finished is not None, finished or "")

    def accepted_sequence(self, spool_id: str) -> int:
        """Last sequence number taken, in the log or on its way there."""
        return self._spools[spool_id].accepted.sequence

    # Called by the update loop.

    def drain(self, max_entries: int | None = None) -> list[pb.LogEntry]:
        """Entries now in the log, in its order, each once. Raises IngestError when the log cannot be written."""
        self._check()
        queue = self._queue
        with self._lock:
            count = len(queue) if max_entries is None else min(max_entries, len(queue))
            taken = [queue.popleft() for _ in range(count)]
            if taken:
                was_full = self._held_bytes > self._queue_bytes
                self._held_bytes -= taken[-1][0] - self._drained_offset
                self._drained_offset = taken[-1][0]
                freed = was_full and self._held_bytes <= self._queue_bytes
            if not queue:
                self._arrived.clear()
        if taken and freed:
            self._on_change()
        return [entry for _, entry in taken]

    @property
    def drained_offset(self) -> int:
        """Offset of the log after the last entry drained; a checkpoint keeps it."""
        return self._drained_offset

    def wait(self, timeout_s: float | None = None) -> bool:
        """Blocks until there is something to drain; False when the time ran out. Raises IngestError like ``drain``."""
        arrived = self._arrived.wait(timeout_s)
        self._check()
        return arrived and bool(self._queue)

    def set_credit(self, credit: Mapping[str, int]) -> None:
        """Tells actors how many training steps, since sequence 1 of their spool, the update-to-data ratio allows."""
        changed = False
        for spool_id, steps in credit.items():
            spool = self._spools.get(spool_id)
            if spool is not None and spool.credit != steps:
                spool.credit = steps
                changed = True
        if changed:
            self._on_change()

    def finish(self, reason: str) -> None:
        """Tells every actor, now and when it connects, that the run is over."""
        self._finished = reason
        self._on_change()

    @property
    def finished(self) -> str | None:
        """The reason given to ``finish``; None before."""
        return self._finished

    @property
    def fault(self) -> str:
        """Why nothing is being logged at present, e.g. a full disk; empty while all is well."""
        return self._fault

    def spools(self) -> list[SpoolStatus]:
        """How every spool does that joined this process or is in the log, the learner's own left out."""
        now = time.monotonic()
        return [spool.status(spool_id, now) for spool_id, spool in self._spools.items() if spool_id]

    def close(self, timeout_s: float = 5.0) -> None:
        """Appends what was accepted and stops the writer; the log stays open. May be called twice."""
        with self._work:
            self._closing = True
            self._work.notify()
        self._writer.join(timeout_s)

    def _check_new(self, start: pb.EpisodeStart, batch: Batch) -> None:
        """Raises RecordError unless the episode's id is new, and its evaluation one that may have been asked for.

        Of a process before this one, episodes that had ended are known as ``note_earlier`` comes to them.
        """
        if start.episode_id in self._episodes or start.episode_id in batch.started:
            raise RecordError(f"start.episode_id must be a new one. Got: {start.episode_id!r}, which was used before")
        batch.started.add(start.episode_id)
        newest = max(self._newest_evaluation, batch.newest_evaluation)
        # An earlier process may have asked for some that nobody began. One record cannot use up all ids to come.
        if start.evaluation_id > newest + MAX_UNHEARD_EVALUATIONS:
            raise RecordError(
                f"start.evaluation_id must be one asked for. Got: {start.evaluation_id}, newest: {newest}"
            )
        batch.newest_evaluation = max(newest, start.evaluation_id)

    # The writer thread.

    def _submit(self, batch: Batch) -> None:
        self._check()
        with self._work:
            if self._closing:
                raise IngestError("the learner is stopping: nothing more is taken")
            self._pending.append(batch)
            self._held_bytes += batch.framed_bytes
            self._work.notify()

    def _write(self) -> None:
        while True:
            with self._work:
                while not self._pending and not self._closing:
                    self._work.wait()
                closing = self._closing
            if not closing:
                time.sleep(_GATHER_S)
            with self._work:
                batches, self._pending = self._pending, []
            if not batches:
                return
            try:
                if not self._append(batches):
                    return
            except BaseException as error:
                self._failure = error
                for batch in batches:
                    if batch.done is not None:
                        batch.done.set_exception(IngestError(f"the episode log cannot be written: {error}"))
                self._arrived.set()
                self._on_change()
                return

    def _append(self, batches: list[Batch]) -> bool:
        """One append and one sync for all that has come meanwhile. False when closed while the disk was full."""
        data = [item for batch in batches for item in batch.data]
        positions = {spool_id: position for batch in batches for spool_id, position in batch.positions.items()}
        start = self._log.end
        while True:
            try:
                self._log.append(data, positions)
                break
            except OSError as error:
                if error.errno not in _FULL_DISK:
                    raise
                self._fault = f"the disk of {self._log.folder} is full: free some space; nothing is lost meanwhile"
                with self._work:
                    if self._closing or self._work.wait_for(lambda: self._closing, _FULL_DISK_RETRY_S):
                        return False
        self._log.sync()
        self._fault = ""
        entries = [entry for batch in batches for entry in batch.entries]
        offsets = accumulate((len(item) + FRAME.size for item in data), initial=start)
        next(offsets)
        with self._lock:
            self._queue.extend(zip(offsets, entries, strict=True))
            for spool_id, position in positions.items():
                self._spools[spool_id].logged = position
            self._arrived.set()
        for batch in batches:
            if batch.done is not None:
                batch.done.set_result(None)
        self._on_change()
        return True

    def _check(self) -> None:
        if self._failure is not None:
            raise IngestError(
                f"the episode log {self._log.folder} cannot be written: {self._failure}. Mend the disk and start the "
                "learner again: the actors keep what was not acknowledged"
            ) from self._failure


def _nothing() -> None:
    pass
