"""What the ingest keeps of one spool, and the batches on their way from it to the log."""

from __future__ import annotations

from collections import deque
from collections.abc import Buffer
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import DecodeError

from episodes.log_segment import FRAME
from episodes.spool_position import RecordError, SpoolPosition
from transport import records_pb2 as pb
from transport.record_parts import delimiter
from transport.strangers import UNDECODABLE_TEXT

_RATE_WINDOW_S = 2.5
_RECORD_TAG = pb.LogEntry.DESCRIPTOR.fields_by_name["record"].number << 3 | 2


class SpoolLimitError(RecordError):
    """More spools than a run takes."""


class NameTakenError(RecordError):
    """An actor of this name is connected already, or joined a moment ago, with another spool."""


class NotJoinedError(RecordError):
    """Records of a spool that did not join."""


class SpoolStatus(NamedTuple):
    """How one spool does, at one moment.

    Attributes:
        acknowledged: Last sequence number in the log.
        training_steps: Steps of training episodes in the log, since its sequence 1.
        steps_per_s: Of all steps, over the last seconds.
        policy_version: Of the newest step.
        seconds_since_heard: Since the last records or join; inf where never in this process.
    """

    spool_id: str
    actor: str
    connected: bool
    acknowledged: int
    training_steps: int
    steps_per_s: float
    policy_version: int
    seconds_since_heard: float


@dataclass(slots=True)
class Batch:
    """Records on their way to the log, with the positions of their spools after them."""

    positions: dict[str, SpoolPosition]
    done: Future[None] | None = None
    entries: list[pb.LogEntry] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    framed_bytes: int = 0
    started: set[str] = field(default_factory=set)
    newest_evaluation: int = 0

    def add(self, entry: pb.LogEntry, data: bytes) -> None:
        """``data`` is ``entry`` serialized."""
        self.entries.append(entry)
        self.data.append(data)
        self.framed_bytes += len(data) + FRAME.size


class EntryFrame:
    """Makes log entries of serialized records without serializing them again."""

    def __init__(self, spool_id: str, actor: str):
        self._head = pb.LogEntry(spool_id=spool_id, actor=actor).SerializeToString()

    def entry(self, payload: Buffer) -> tuple[pb.LogEntry, bytes]:
        """The entry of a record, and its bytes. Raises RecordError where ``payload`` is none."""
        data = b"".join((self._head, delimiter(_RECORD_TAG, memoryview(payload).nbytes), payload))
        try:
            return pb.LogEntry.FromString(data), data
        except DecodeError:
            raise RecordError(UNDECODABLE_TEXT) from None


class Spool:
    """One spool: what was taken, what is in the log, and who sends it."""

    def __init__(self, logged: SpoolPosition):
        self.logged = logged
        self.accepted = logged.copy()
        self.credit = 0
        self.joined = self.deliver_only = False
        self.claim = 0
        self.streams = 0
        self.heard_s = float("-inf")
        self.joined_s = float("-inf")
        self.policy_version = 0
        self.acting_version: int | None = None  # of the newest training step
        self._marks: deque[tuple[float, int]] = deque(maxlen=2)

    def holds_name(self, now_s: float, joined_within_s: float) -> bool:
        """Whether its actor is connected, or joined so shortly ago that its stream is on the way."""
        if self.deliver_only:
            return False
        return self.streams > 0 or (self.joined and now_s - self.joined_s < joined_within_s)

    def note(self, record: pb.Record) -> None:
        """Keeps the policy versions of the newest step and two marks in time for the rate."""
        if record.WhichOneof("body") == "step":
            self.policy_version = record.step.policy_version
            if self.accepted.purpose == pb.PURPOSE_TRAINING:
                self.acting_version = self.policy_version
        if not self._marks or self.heard_s - self._marks[-1][0] > _RATE_WINDOW_S:
            self._marks.append((self.heard_s, self.accepted.training_steps))

    def status(self, spool_id: str, now_s: float) -> SpoolStatus:
        rate = 0.0
        if self._marks and now_s - self.heard_s < 2 * _RATE_WINDOW_S:
            since_s, steps = self._marks[0]
            rate = (self.accepted.training_steps - steps) / max(now_s - since_s, 1e-3)
        return SpoolStatus(
            spool_id,
            self.accepted.actor,
            self.streams > 0,
            self.logged.sequence,
            self.logged.training_steps,
            rate,
            self.policy_version,
            now_s - self.heard_s,
        )
