"""From the streams of the actors into the episode log, and from there to the update loop.

    streams (service thread) --accept--> writer thread: append, sync, acknowledge --queue--drain--> update loop

Nothing is acknowledged, and nothing reaches the update loop, before the append (with ``log.sync=commit``, the sync).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Buffer, Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from episodes.contract import Contract
from episodes.layout import ObservationLayout
from episodes.log import EpisodeLog
from episodes.spool_position import SpoolPosition
from episodes.validation import RecordError, check_amendment, check_identifier, check_record, reward_range
from learner.claims import Claims
from learner.ingest_spool import (
    Batch,
    EntryFrame,
    NameTakenError,
    NotJoinedError,
    Spool,
    SpoolLimitError,
    SpoolStatus,
)
from learner.known_episodes import KnownEpisodes
from learner.log_writer import IngestError, LogWriter
from transport import records_pb2 as pb

__all__ = ["Ingest", "IngestError", "NameTakenError", "NotJoinedError", "Progress", "SpoolLimitError", "SpoolStatus"]

MAX_SPOOLS = 256
QUEUE_BYTES = 256 << 20


class Progress(NamedTuple):
    """What an actor is told: see ``tandem.v1.Acknowledgement``."""

    sequence: int
    step_credit: int
    finished: bool
    finished_reason: str
    replaced: bool
    fault: str


class Ingest:
    """One per run. ``join``, ``accept`` and ``amend`` are called by the service's thread, the rest by any."""

    def __init__(
        self, log: EpisodeLog, contract: Contract, claims: Path | None = None, *, queue_bytes: int = QUEUE_BYTES
    ):
        """``log`` is written by this alone from now on. ``queue_bytes`` bounds what is accepted and not yet drained.

        ``claims``: see ``Claims``.
        """
        self._log = log
        self._layout = ObservationLayout(contract.stored)
        self._action_size = contract.interface.action.shape[0]
        self._rewards = reward_range(contract.interface.reward)
        self._queue_bytes = queue_bytes
        self._spools = {spool_id: Spool(position) for spool_id, position in log.positions().items()}
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._held_bytes = 0
        self._queue: deque[tuple[int, pb.LogEntry]] = deque()
        self._drained_offset = log.end
        self._credited = False  # since the last ``wait``
        self._claims = Claims(claims)
        self._finished: str | None = None
        self._episodes = KnownEpisodes(log)
        self._on_change: Callable[[], None] = _nothing
        self._writer = LogWriter(log, self._logged, self._failed)

    # Called by the service.

    def on_change(self, callback: Callable[[], None]) -> None:
        """``callback`` is called, from any thread, after something was acknowledged, drained, credited or finished."""
        self._on_change = callback

    def join(
        self, spool_id: str, actor: str, *, takeover: bool = False, deliver_only: bool = False, claim: int = 0
    ) -> int:
        """Registers a spool and returns its last sequence number in the log; 0 for none.

        The name goes to one spool at a time: actors of one name would draw the same start states and the same
        exploration. With ``takeover`` those that had it, connected or not, may deliver, and are told to end; one that
        comes back while the name is another's is told so too. ``deliver_only`` asks for no name. ``claim`` is that of
        the same process, when it joins again: the name goes to the greater one, whoever of the two comes back first.

        Raises NameTakenError, SpoolLimitError, and RecordError for identifiers that are none.
        """
        check_identifier("spool_id", spool_id)
        check_identifier("actor", actor)
        spool = self._spools.get(spool_id)
        if spool is None:
            if len(self._spools) >= MAX_SPOOLS:
                raise SpoolLimitError(f"this run takes at most {MAX_SPOOLS} spools. Got one more: {spool_id!r}")
            spool = Spool(SpoolPosition())
        others = [s for i, s in self._spools.items() if i not in ("", spool_id) and s.accepted.actor == actor]
        self._claims.settle(spool, others, spool_id, actor, takeover=takeover, deliver_only=deliver_only, claim=claim)
        self._spools = {**self._spools, spool_id: spool}
        spool.accepted.actor = actor
        spool.joined = True
        spool.heard_s = spool.joined_s = time.monotonic()
        return spool.logged.sequence

    def claim(self, spool_id: str) -> int:
        """What the actor of this spool shows when it joins again."""
        return self._spools[spool_id].claim

    def connected(self, spool_id: str, streams: int) -> None:
        """Adds ``streams`` (1 or -1) to the open streams of a spool."""
        spool = self._spools[spool_id]
        spool.streams += streams
        spool.joined_s = float("-inf")  # from its first stream on, the streams alone hold the name

    def accept(self, spool_id: str, records: Iterable[Buffer]) -> None:
        """Takes serialized records for the log; those received before are dropped silently.

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
        frame = EntryFrame(spool_id, actor)
        for index, payload in enumerate(records):
            entry, data = frame.entry(payload)
            record = entry.record
            if record.sequence <= received:
                continue
            try:
                check_record(record, self._layout, self._action_size, self._rewards)
                position.advance(record)
                if record.HasField("start"):
                    self._episodes.check_new(record.start, batch)
            except RecordError as error:
                raise type(error)(f"records[{index}] (sequence {record.sequence}): {error}") from None
            received = position.sequence
            batch.add(entry, data)
        if batch.entries:
            self._submit(batch)
            spool.accepted = position
            spool.note(batch.entries[-1].record)
            self._episodes.take(batch)

    def note_earlier(self, entry: pb.LogEntry) -> None:
        """Takes an entry of an earlier process, so that its episode is known. May be called by the update loop."""
        self._episodes.note(entry)

    def knows_episode(self, episode_id: str) -> bool:
        """Whether the log has the episode, or will. The first unknown one has the log read: call off the event loop."""
        return self._episodes.knows(episode_id)

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
        batch.add(*EntryFrame("", "learner").entry(record.SerializeToString()))
        self._submit(batch)
        spool.accepted = position
        return done

    @property
    def full(self) -> bool:
        """Whether more is accepted and not drained than the budget: streams are then not read."""
        return self._held_bytes > self._queue_bytes

    def progress(self, spool_id: str) -> Progress:
        """What the actor of this spool is to know now."""
        spool, over = self._spools[spool_id], self._finished
        step, fault = spool.logged.sequence, self.fault
        return Progress(step, spool.credit, over is not None, over or "", spool.deliver_only, fault)

    def acting_version(self, spool_id: str) -> int | None:
        """Policy version of the newest training step taken by this process; None before the first."""
        return self._spools[spool_id].acting_version

    def accepted_sequence(self, spool_id: str) -> int:
        """Last sequence number taken, in the log or on its way there."""
        return self._spools[spool_id].accepted.sequence

    # Called by the update loop.

    def drain(self, max_entries: int | None = None) -> list[pb.LogEntry]:
        """Entries now in the log, in its order, each once. Raises IngestError when the log cannot be written."""
        self._writer.check()
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
    def awaited(self) -> bool:
        """Whether the update loop is in ``wait``."""
        return self._writer.awaited

    @property
    def drained_offset(self) -> int:
        """Offset of the log after the last entry drained; a checkpoint keeps it."""
        return self._drained_offset

    def wait(self, timeout_s: float | None = None) -> bool:
        """Blocks until there is something to drain; False when the time ran out. Raises IngestError like ``drain``."""
        with self._writer.waiting():
            if self._credited:
                self._credited = False
                self._on_change()
            arrived = self._arrived.wait(timeout_s)
        self._writer.check()
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
            self._credited = True
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
        return self._writer.fault

    def spools(self) -> list[SpoolStatus]:
        """How every spool does that joined this process or is in the log, the learner's own left out."""
        now = time.monotonic()
        return [spool.status(spool_id, now) for spool_id, spool in self._spools.items() if spool_id]

    def close(self, timeout_s: float = 5.0) -> None:
        """Appends what was accepted and stops the writer; the log stays open. May be called twice."""
        self._writer.close(timeout_s)

    def _submit(self, batch: Batch) -> None:
        with self._lock:  # so that nothing of it is drained before it counts
            self._writer.submit(batch)
            self._held_bytes += batch.framed_bytes

    # Called by the writer thread.

    def _logged(self, entries: list[tuple[int, pb.LogEntry]], positions: Mapping[str, SpoolPosition]) -> None:
        with self._lock:
            self._queue.extend(entries)
            for spool_id, position in positions.items():
                self._spools[spool_id].logged = position
            self._arrived.set()
        self._on_change()

    def _failed(self) -> None:
        self._arrived.set()
        self._on_change()


def _nothing() -> None:
    pass
