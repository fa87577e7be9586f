"""What environments wrote down themselves against what the log holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import numpy as np

from episodes.log import read_log
from transport import records_pb2 as pb

type StepKey = tuple[int, int, int]
"""Episode, as two numbers in one, its step from 1, and the checksum of the observation after it."""


class DifferenceError(AssertionError):
    """The log is not what was executed."""


def recorded_steps(path: Path) -> list[StepKey]:
    """Every ``env.step`` that returned, in order. Raises DifferenceError for a damaged line."""
    steps = []
    for line in path.read_text().splitlines() if path.exists() else []:
        text, _, check = line.rpartition(" ")
        if int(check, 16) != crc32(text.encode()):
            raise DifferenceError(f"the record {path} is damaged: {line!r}")
        high, low, step, observation = text.split()
        steps.append((int(high) << 24 | int(low), int(step), int(observation, 16)))
    return steps


@dataclass
class Logged:
    """The steps of one actor in the log, in its order.

    Attributes:
        steps: Whole ones.
        interrupted: Episode and step of those in flight when a process died.
    """

    steps: list[StepKey] = field(default_factory=list)
    interrupted: list[tuple[int, int]] = field(default_factory=list)
    episode: int = 0

    def add(self, record: pb.Record) -> None:
        if record.HasField("start"):
            self.episode = _episode(record.start.observation[0])
        elif record.HasField("step") and record.step.interrupted:
            self.interrupted.append((self.episode, record.step.index + 1))
        elif record.HasField("step"):
            data = record.step.observation[0]
            self.steps.append((_episode(data), int(np.frombuffer(data, np.float32)[2]), crc32(data)))


class LogReader:
    """Follows a log while it is written.

    Attributes:
        actors: What it holds so far, by the name of the actor.
        newest: The newest records of each actor, as sent.
    """

    def __init__(self, folder: Path) -> None:
        self.actors: dict[str, Logged] = {}
        self.newest: dict[str, list[pb.Record]] = {}
        self.spools: dict[str, str] = {}
        self._folder = folder
        self._offset = 0

    def read(self) -> None:
        for offset, entry in read_log(self._folder, self._offset):
            self._offset = offset
            self.actors.setdefault(entry.actor, Logged()).add(entry.record)
            self.newest[entry.actor] = [*self.newest.get(entry.actor, [])[-20:], entry.record]
            self.spools[entry.actor] = entry.spool_id


@dataclass(frozen=True)
class Difference:
    """Of an actor's record and the log.

    Attributes:
        lost: Steps that returned and are not in the log, those waiting in a spool included.
        duplicated: Steps that are in it more often than once.
        unordered: Whether the log has those it has in another order than that of the record.
    """

    lost: int
    duplicated: int
    unordered: bool


def difference(recorded: list[StepKey], logged: Logged) -> Difference:
    """A step in flight may have written its line before its process died: as interrupted it is there, counted apart."""
    flying = set(logged.interrupted)
    returned = [step for step in recorded if step[:2] not in flying]
    counts = Counter(logged.steps)
    lost = [step for step in returned if step not in counts]
    return Difference(
        lost=len(lost),
        duplicated=sum(count - 1 for count in counts.values()) + len(flying & {step[:2] for step in logged.steps}),
        unordered=logged.steps != returned[: len(logged.steps)],
    )


def unexplained(recorded: list[StepKey], logged: Logged, killed: int, before: int = 0) -> int:
    """Interrupted steps without a reason: after the first ``before``, those beyond one for each of the ``killed``
    control processes, and those that did not end their episode.
    """
    newest: dict[int, int] = {}
    for episode, step, _ in recorded:
        newest[episode] = max(step, newest.get(episode, 0))
    new = logged.interrupted[before:]
    return max(0, len(new) - killed) + sum(step < newest.get(episode, 0) for episode, step in new)


def _episode(observation: bytes) -> int:
    high, low = np.frombuffer(observation, np.float32)[:2]
    return int(high) << 24 | int(low)
