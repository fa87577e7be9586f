"""The spool: every executed step waits here, in a memory-mapped ring file, until the learner has it in its log.

One process produces (control), one consumes (comms). Writing a record is a copy into preallocated memory; no system
call. The file outlives both processes: whatever was finished is delivered later, exactly once, in order.

    page 0      what this spool is, and two counters: ``produced`` and ``acknowledged`` sequence numbers
    in flight   the step whose ``env.step`` has not returned: its action, written before the call
    slots       ``capacity`` records; sequence n lives in slot (n - 1) mod capacity

A record counts once ``produced`` reaches its sequence number: an aligned 8-byte store after the copy, so a process
killed at any point leaves it whole or absent.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
import uuid
from collections.abc import Buffer, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError
from isal.isal_zlib import crc32

from actor.errors import SpoolError, SpoolFullError
from episodes.contract import Contract
from episodes.durable import reserve
from transport import records_pb2 as pb
from transport.record_parts import step_record

_MAGIC = b"TNDMSPL1"
_IDENTITY = struct.Struct("<8sIIQQ64s32s16s64s")
_PAGE = 4096
_PRODUCED, _ACKNOWLEDGED = 64, 72  # indices of 8-byte words in page 0, on cache lines of their own
_SLOT = struct.Struct("<QIIIIQQ")  # sequence, length, crc32, kind, unused, training steps, episodes
_START, _STEP, _END, _AMENDMENT = 1, 2, 3, 4


def record_bytes(contract: Contract) -> int:
    """Room that any record of this contract fits in."""
    observation = sum(feature.nbytes + 16 for feature in contract.stored)
    return observation + 3 * 4 * contract.interface.action.shape[0] + 1024


class Spool:
    """A spool file opened by its producer or its consumer. Raises SpoolError where it is none.

    Attributes:
        run_id: The run whose records these are.
        spool_id: Made with the file, 32 hexadecimal digits; sequence numbers belong to (run_id, spool_id).
        fingerprint: Of the interface the records have.
        capacity: Number of records that fit.
        found: Sequence number of the newest record that was whole when the file was opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("r+b") as file:
            head = file.read(_IDENTITY.size)
            size = os.fstat(file.fileno()).st_size
            if len(head) < _IDENTITY.size or not head.startswith(_MAGIC):
                raise SpoolError(f"{path} is no spool of this version. Move it away and start again.")
            _, self._slot_bytes, self._in_flight_bytes, self.capacity, slots_at, *texts = _IDENTITY.unpack(head)
            self.run_id, self.spool_id, self.fingerprint, self.actor = (
                text.rstrip(b"\0").decode(errors="replace") for text in texts
            )
            if self._slot_bytes <= _SLOT.size or slots_at != _PAGE + self._in_flight_bytes or not self.capacity:
                raise SpoolError(f"{path} is damaged at its start. Move it away and start again.")
            if size != slots_at + self.capacity * self._slot_bytes:
                raise SpoolError(f"{path} is cut short: {size} bytes. Move it away and start again.")
            self._map = mmap.mmap(file.fileno(), size)
        self._slots_at = slots_at
        self._bytes = memoryview(self._map)
        self._words = self._bytes[:_PAGE].cast("Q")
        self._step_sequence = 0
        self._training = 0
        self.found = self.produced
        if not 0 <= self.undelivered <= self.capacity:
            raise self._damaged()

    @staticmethod
    def create(path: Path, *, run_id: str, actor: str, fingerprint: str, slot_bytes: int, capacity: int) -> Spool:
        """Makes the file whole or not at all, with its disk space reserved.

        Raises SpoolError where the disk has no room for it.
        """
        slot_bytes = -(-(slot_bytes + _SLOT.size) // 64) * 64
        in_flight_bytes = -(-slot_bytes // _PAGE) * _PAGE
        slots_at = _PAGE + in_flight_bytes
        size = slots_at + capacity * slot_bytes
        making = path.with_suffix(".making")
        with making.open("w+b") as file:
            try:
                reserve(file.fileno(), size)
            except OSError as error:
                making.unlink()
                raise SpoolError(
                    f"no room for a spool of {size / 1e6:.0f} MB in {path.parent}: {error.strerror}. "
                    "Free some disk space, or set a smaller actor.spool_mb or another folder with actor.spool."
                ) from None
            texts = (text.encode() for text in (run_id, uuid.uuid4().hex, fingerprint, actor))
            file.write(_IDENTITY.pack(_MAGIC, slot_bytes, in_flight_bytes, capacity, slots_at, *texts))
            file.flush()
            os.fsync(file.fileno())
        making.rename(path)
        return Spool(path)

    @property
    def produced(self) -> int:
        """Sequence number of the newest record; 0 for none."""
        return self._words[_PRODUCED]

    @property
    def acknowledged(self) -> int:
        """Everything up to this sequence number is in the learner's log."""
        return self._words[_ACKNOWLEDGED]

    @property
    def undelivered(self) -> int:
        return self.produced - self.acknowledged

    @property
    def free(self) -> int:
        """Records that fit before the learner acknowledges more."""
        return self.capacity - self.undelivered

    @property
    def training_steps(self) -> int:
        """Steps of training episodes in this spool since it was made, without interrupted ones."""
        return self._newest()[5]

    @property
    def episodes(self) -> int:
        """Training episodes started in this spool since it was made."""
        return self._newest()[6]

    @property
    def is_open(self) -> bool:
        """Whether the newest episode has not ended."""
        return self._newest()[3] in (_START, _STEP)

    def start_episode(self, start: pb.EpisodeStart) -> None:
        """Raises SpoolFullError where not one step and an end fit."""
        training = start.purpose == pb.PURPOSE_TRAINING
        self._room(3)
        self._training = int(training)
        self._append(_START, pb.Record(start=start), episodes=int(training))

    def begin_step(self, step: pb.Step) -> None:
        """Writes the step's action before ``env.step`` is called. Raises SpoolFullError where its end would not fit."""
        self._room(2)
        self._step_sequence = self.produced + 1
        payload = step.SerializeToString()
        body = _PAGE + _SLOT.size
        if _SLOT.size + len(payload) > self._in_flight_bytes:
            raise SpoolError(f"a step of {len(payload)} bytes does not fit {self._in_flight_bytes} bytes in flight")
        self._map[body : body + len(payload)] = payload
        head = (self._step_sequence, len(payload), crc32(payload), _STEP, 0, 0, 0)
        _SLOT.pack_into(self._map, _PAGE, *head)

    def finish_step(self, step: pb.Step, observation: Sequence[Buffer]) -> None:
        """Writes the whole step after ``env.step`` returned: ``step`` and, each copied once, its observation."""
        if self._step_sequence != self.produced + 1:
            raise SpoolError("finish_step without begin_step")
        self._write(_STEP, step_record(self._step_sequence, step, observation), steps=self._training)

    def end_episode(self, end: pb.EpisodeEnd) -> None:
        self._append(_END, pb.Record(end=end))

    def amend(self, amendment: pb.Amendment) -> None:
        self._append(_AMENDMENT, pb.Record(amendment=amendment))

    def recover(self) -> str:
        """Closes what a dead producer left open; only while no producer runs. Says what it did, or nothing.

        The step in flight becomes an interrupted step, and the open episode is cut. Records damaged by a power cut
        are dropped from the first damaged one on: they were never acknowledged. Raises SpoolError where the newest
        record is damaged although it was.
        """
        said = []
        for sequence in range(self.acknowledged + 1, self.produced + 1):
            if self._whole(sequence) is None:
                said.append(f"{self.produced - sequence + 1} damaged records were dropped from the spool")
                self._words[_PRODUCED] = sequence - 1
                self.found = min(self.found, sequence - 1)
                break
        if self.produced and self._whole(self.produced) is None:
            raise SpoolError(
                f"{self.path} is damaged at record {self.produced}, by a power cut or the disk. The learner has it: "
                f"move {self.path.parent} away and start again."
            )
        if not self.is_open:
            return "; ".join(said)
        newest = self._parsed(pb.Record, self._payload(self.produced))
        kind = newest.WhichOneof("body")
        if kind not in ("start", "step"):
            raise self._damaged()
        episode_id = getattr(newest, kind).episode_id
        steps = newest.step.index + 1 if kind == "step" else 0
        sequence, length, crc, *_ = _SLOT.unpack_from(self._map, _PAGE)
        payload = self._map[_PAGE + _SLOT.size : _PAGE + _SLOT.size + length]
        if sequence == self.produced + 1 and crc32(payload) == crc:
            step = self._parsed(pb.Step, payload)
            step.interrupted = True
            self._append(_STEP, pb.Record(step=step))
            steps += 1
            said.append(f"step {step.index} of episode {episode_id[:8]} was interrupted")
        end = pb.EpisodeEnd(
            episode_id=episode_id, outcome=pb.OUTCOME_CUT, author="actor", steps=steps, time_ns=time.time_ns()
        )
        self.end_episode(end)
        said.append(f"episode {episode_id[:8]} was cut after {steps} steps")
        return "; ".join(said)

    def read(self, sequence: int) -> memoryview | None:
        """The serialized ``tandem.v1.Record`` of a sequence number that is not yet trimmed, as it lies in the spool.

        Valid until it is acknowledged. None while not all of it is there: a processor may show ``produced`` to another
        before the record it counts.
        Raises SpoolError where there is none.
        """
        if sequence > self.produced:
            raise SpoolError(f"{self.path} holds no record {sequence}")
        return self._whole(sequence)

    def acknowledge(self, sequence: int) -> None:
        """Everything up to ``sequence`` is in the log and its room is free. Raises SpoolError for one never made."""
        self._check_had(sequence, self.produced)
        if sequence > self.acknowledged:
            self._words[_ACKNOWLEDGED] = sequence

    def check_logged(self, sequence: int) -> None:
        """Raises SpoolError where the log had ``sequence`` before this process made any, and the file had not."""
        self._check_had(sequence, self.found)

    def _check_had(self, sequence: int, newest: int) -> None:
        if sequence > newest:
            raise SpoolError(
                f"record {sequence} was acknowledged, but this spool has only {newest}: a power cut took what "
                f"the learner has already. Move {self.path.parent} away and start again."
            )

    def close(self) -> None:
        self._words.release()
        self._bytes.release()
        with contextlib.suppress(BufferError):  # the mapping lasts as long as a record that was read
            self._map.close()

    def _parsed[T: pb.Record | pb.Step](self, kind: type[T], payload: bytes | memoryview) -> T:
        try:
            return kind.FromString(payload)
        except DecodeError:
            raise self._damaged() from None

    def _damaged(self) -> SpoolError:
        return SpoolError(f"{self.path} is damaged at record {self.produced}. Move its folder away and start again.")

    def _append(self, kind: int, record: pb.Record, *, steps: int = 0, episodes: int = 0) -> None:
        record.sequence = self.produced + 1
        self._write(kind, [memoryview(record.SerializeToString())], steps=steps, episodes=episodes)

    def _write(self, kind: int, parts: Sequence[memoryview], *, steps: int = 0, episodes: int = 0) -> None:
        self._room(1)
        sequence, length, crc = self.produced + 1, sum(map(len, parts)), 0
        if _SLOT.size + length > self._slot_bytes:
            raise SpoolError(f"a record of {length} bytes does not fit a slot of {self._slot_bytes} bytes")
        newest, at = self._newest(), self._at(sequence)
        place = at + _SLOT.size
        for part in parts:
            self._map[place : place + len(part)] = part
            crc = crc32(part, crc)
            place += len(part)
        _SLOT.pack_into(self._map, at, sequence, length, crc, kind, 0, newest[5] + steps, newest[6] + episodes)
        self._words[_PRODUCED] = sequence

    def _whole(self, sequence: int) -> memoryview | None:
        stored, _, crc, *_ = _SLOT.unpack_from(self._map, self._at(sequence))
        payload = self._payload(sequence)
        return payload if stored == sequence and crc32(payload) == crc else None

    def _payload(self, sequence: int) -> memoryview:
        at = self._at(sequence)
        length = min(_SLOT.unpack_from(self._map, at)[1], self._slot_bytes - _SLOT.size)
        return self._bytes[at + _SLOT.size : at + _SLOT.size + length]

    def _newest(self) -> tuple[int, ...]:
        if not self.produced:
            return (0,) * 7
        return _SLOT.unpack_from(self._map, self._at(self.produced))

    def _room(self, records: int) -> None:
        if self.free < records:
            raise SpoolFullError(f"the spool {self.path} is full: {self.undelivered} records wait for the learner")

    def _at(self, sequence: int) -> int:
        return self._slots_at + (sequence - 1) % self.capacity * self._slot_bytes
