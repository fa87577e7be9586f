"""Memory the comms process and the control process share, without locks: either may die at any point.

The blocks are anonymous files handed down as file descriptors: they have no names to collide and nothing to clean up.
Every field has one writer.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from isal.isal_zlib import crc32

_PIECE_BYTES, _PIECE_S = 2 << 20, 0.001


class Phase(IntEnum):
    """What the control process is doing."""

    STARTING = 0
    WAITING_POLICY = 1
    WAITING_LEARNER = 2
    WAITING_PERSON = 3
    WAITING_SPOOL = 4
    RUNNING = 5
    EVALUATING = 6
    CLOSING = 7
    STOPPED = 8
    WAITING_REWARD = 9


COMMS = np.dtype(
    [
        ("stop", np.uint64),  # 1: end the episode where it stands and leave
        ("step_credit", np.uint64),  # training steps of this spool the learner allows so far
        ("connected", np.uint64),
        ("device_beat_ns", np.uint64),  # time.monotonic_ns of the input device's last sign of life; 0 for no device
        ("device_driving", np.uint64),  # 1: the person drives
        ("device_held", np.float32, 4),  # as envs.teleop.device_state.DeviceState.held, presses and speed
        ("device_presses", np.uint64, 6),
        ("device_speed", np.float64),
        ("device_armed", np.uint64),
        ("device_reason", "S120"),
        ("device_events", np.uint64, 16),  # how often each event has happened, in the order of envs.teleop.Event
    ],
    align=True,
)
CONTROL = np.dtype(
    [
        ("phase", np.uint64),
        ("beat_ns", np.uint64),  # time.monotonic_ns of the last turn of the control loop
        ("env_steps", np.uint64),  # executed since the actor started, of any purpose
        ("human_steps", np.uint64),
        ("held_steps", np.uint64),
        ("episodes", np.uint64),  # ended since the actor started, of any purpose
        ("successes", np.uint64),  # among the last 20 training episodes
        ("scored", np.uint64),  # how many of the last 20 training episodes there have been
        ("policy_version", np.uint64),
        ("episode_steps", np.uint64),
        ("episode_return", np.float64),
        ("overruns", np.uint64),
        ("skipped_periods", np.uint64),
        ("period_error_p50_ms", np.float64),
        ("period_error_p99_ms", np.float64),
        ("evaluated", np.uint64),  # number of the newest evaluation letter that was answered
        ("doing", "S160"),  # what the operator or the loop is doing, in words
        ("reward", "S160"),  # what the classifier sees, in words
    ],
    align=True,
)


def create_block(size: int) -> int:
    """A file descriptor of ``size`` bytes of zeroed shared memory; memory is used only where it is touched."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("tandem")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


class Board:
    """Status and orders: ``comms`` is written by the comms process only, ``control`` by the control process only."""

    SIZE = 4096

    def __init__(self, fd: int) -> None:
        memory = mmap.mmap(fd, self.SIZE)
        self.comms: np.ndarray = np.ndarray((), COMMS, memory, 0)
        self.control: np.ndarray = np.ndarray((), CONTROL, memory, 2048)

    @property
    def stopping(self) -> bool:
        return bool(self.comms["stop"])

    def beat(self, phase: Phase | None = None) -> None:
        self.control["beat_ns"] = time.monotonic_ns()
        if phase is not None:
            self.control["phase"] = phase

    def say(self, text: str) -> None:
        self.control["doing"] = text.encode()[:160]

    @property
    def doing(self) -> str:
        return self.control["doing"].item().decode(errors="replace")

    @property
    def reward(self) -> str:
        return self.control["reward"].item().decode(errors="replace")

    @reward.setter
    def reward(self, text: str) -> None:
        self.control["reward"] = text.encode()[:160]


@dataclass(frozen=True)
class Letter:
    """One payload with what belongs to it.

    Attributes:
        number: Counts the letters of a mailbox, from 1.
        version: Policy version.
        evaluation_id, episodes, first_seed: Of an evaluation request; 0 otherwise.
        payload: The policy, as safetensors.
    """

    number: int
    version: int
    evaluation_id: int
    episodes: int
    first_seed: int
    payload: memoryview


class Mailbox:
    """The newest letter, from one writer to one reader, through two buffers.

    The writer fills the buffer that is not the newest and then turns the number to it. A reader that is overtaken twice
    while it copies finds the checksum, which covers the head too, wrong, and tries again at its next step.
    """

    _HEAD = struct.Struct("<QQQQQQ")  # version, evaluation id, episodes, first seed, length, crc32 of these and payload

    def __init__(self, fd: int, capacity: int) -> None:
        self._capacity = capacity
        self._map = mmap.mmap(fd, self.size(capacity))
        self._number = memoryview(self._map)[:8].cast("Q")

    @classmethod
    def open(cls, fd: int) -> Mailbox:
        """The mailbox in a block that another process made."""
        return cls(fd, (os.fstat(fd).st_size - cls.size(0)) // 2)

    @classmethod
    def size(cls, capacity: int) -> int:
        """Bytes of a block for payloads of at most ``capacity`` bytes."""
        return 4096 + 2 * (cls._HEAD.size + capacity)

    @property
    def number(self) -> int:
        """Of the newest letter; 0 for none."""
        return self._number[0]

    def put(
        self, payload: bytes, *, version: int, evaluation_id: int = 0, episodes: int = 0, first_seed: int = 0
    ) -> None:
        """Raises ValueError where the payload does not fit."""
        if len(payload) > self._capacity:
            raise ValueError(
                f"a policy of {len(payload)} bytes is larger than actor.policy_mb allows: {self._capacity}"
            )
        number = self.number + 1
        at = self._at(number)
        self._map[at + self._HEAD.size : at + self._HEAD.size + len(payload)] = payload
        head = (version, evaluation_id, episodes, first_seed, len(payload))
        self._HEAD.pack_into(self._map, at, *head, crc32(payload, _crc_of(head)))
        self._number[0] = number

    def get(self, memory: Callable[[int], memoryview] = lambda size: memoryview(bytearray(size))) -> Letter | None:
        """The newest letter, or None where there is none or it was overwritten meanwhile.

        ``memory`` gives so many bytes to copy the payload to, by default of its own.
        """
        pieces = self.pieces(memory)
        while True:
            try:
                next(pieces)
            except StopIteration as ended:
                return ended.value

    def pieces(self, memory: Callable[[int], memoryview]) -> Generator[None, None, Letter | None]:
        """``get``, between whose parts, of _PIECE_S each, something else may be done."""
        number = self.number
        if not number:
            return None
        at = self._at(number)
        *head, crc = self._HEAD.unpack_from(self._map, at)
        version, evaluation_id, episodes, first_seed, length = head
        payload, found = memory(min(length, self._capacity)), _crc_of(head)
        for begin in range(0, len(payload), _PIECE_BYTES):
            with memoryview(self._map) as whole:
                end = min(begin + _PIECE_BYTES, len(payload))
                payload[begin:end] = whole[at + self._HEAD.size + begin : at + self._HEAD.size + end]
            found = crc32(payload[begin:end], found)
            if end < len(payload):
                yield
        if found != crc:
            return None
        return Letter(number, version, evaluation_id, episodes, first_seed, payload)

    @property
    def payload(self) -> bytes | None:
        """Of the newest letter."""
        letter = self.get()
        return None if letter is None else bytes(letter.payload)

    def _at(self, number: int) -> int:
        return 4096 + number % 2 * (self._HEAD.size + self._capacity)


def _crc_of(head: Sequence[int]) -> int:
    return crc32(b"".join(value.to_bytes(8, "little") for value in head))


class Letters:
    """A reader that takes each letter of a mailbox once, into memory that it uses again: new memory costs milliseconds.

    Args:
        mailbox: Read by nobody else.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._taken = 0
        self._reading: Generator[None, None, Letter | None] | None = None
        self._buffer = mmap.mmap(-1, mmap.PAGESIZE)

    def newest(self, spare_s: float = 0.0) -> memoryview | None:
        """The payload, until the next call, of a letter newer than the last one taken, once all of it is copied.

        Each call copies a part, and as many more as there is time for in ``spare_s``. Where the letter was overwritten
        meanwhile the newest is copied at once.
        """
        if self._reading is None:
            if self._mailbox.number == self._taken:
                return None
            self._reading = self._mailbox.pieces(self._memory)
        until_s = time.monotonic() + spare_s - _PIECE_S
        try:
            next(self._reading)
            while time.monotonic() < until_s:
                next(self._reading)
            return None
        except StopIteration as ended:
            self._reading = None
            letter: Letter | None = ended.value or self._mailbox.get(self._memory)
        if letter is None:
            return None
        self._taken = letter.number
        return letter.payload

    def _memory(self, size: int) -> memoryview:
        if size > len(self._buffer):
            self._buffer = mmap.mmap(-1, size)  # its pages come as they are written
        return memoryview(self._buffer)[:size]
