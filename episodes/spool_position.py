"""How far one spool has got: its last sequence number and the episode it is in."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from transport import records_pb2 as pb


class RecordError(ValueError):
    """A malformed record; the text names the field."""


class SequenceGapError(RecordError):
    """A record that does not follow the last one of its spool."""


@dataclass(slots=True)
class SpoolPosition:
    """Position after the records seen so far.

    Attributes:
        actor: Name of the actor, as it joined.
        sequence: Last sequence number; 0 for none.
        episode_id: The open episode; empty between episodes.
        purpose: Its ``Purpose`` number.
        steps: Step records of the open episode, held and interrupted ones included.
        training_steps: Steps of training episodes since sequence 1, without interrupted ones.
        over: The open episode had its terminated or truncated step: its end is to come.
    """

    actor: str = ""
    sequence: int = 0
    episode_id: str = ""
    purpose: int = 0
    steps: int = 0
    training_steps: int = 0
    over: bool = False

    def copy(self) -> SpoolPosition:
        return dataclasses.replace(self)

    def advance(self, record: pb.Record) -> None:
        """Moves past ``record``.

        Raises SequenceGapError when its sequence is not the next, RecordError when it does not continue the episode:
        a start while one is open, a step of another episode or index or after the last one, an end with another number
        of steps.
        """
        if record.sequence != self.sequence + 1:
            raise SequenceGapError(
                f"record.sequence must be {self.sequence + 1}, the one after the last received. Got: "
                f"{record.sequence}. Send again from the acknowledged sequence (Join returns it)"
            )
        kind = record.WhichOneof("body")
        if kind == "step":
            step = record.step
            if step.episode_id != self.episode_id:
                raise RecordError(self._other_episode("step", step.episode_id))
            if step.index != self.steps:
                raise RecordError(f"step.index must be {self.steps}. Got: {step.index} (episode {self.episode_id})")
            if self.over:
                raise RecordError(f"step {step.index} came after the terminated or truncated step: send the end")
            self.steps += 1
            self.over = step.terminated or step.truncated
            if self.purpose == pb.PURPOSE_TRAINING and not step.interrupted:
                self.training_steps += 1
        elif kind == "start":
            if self.episode_id:
                raise RecordError(
                    f"start.episode_id {record.start.episode_id!r} came while episode {self.episode_id!r} of this "
                    "spool is open: send its end first"
                )
            self.episode_id, self.purpose, self.steps = record.start.episode_id, record.start.purpose, 0
            self.over = False
        elif kind == "end":
            if record.end.episode_id != self.episode_id:
                raise RecordError(self._other_episode("end", record.end.episode_id))
            if record.end.steps != self.steps:
                raise RecordError(f"end.steps must be {self.steps}, the steps sent. Got: {record.end.steps}")
            self.episode_id, self.purpose, self.steps = "", 0, 0
        self.sequence = record.sequence

    @property
    def is_sound(self) -> bool:
        """Whether every field is of its type, and no count negative: what was read from a file may be anything."""
        values = dataclasses.asdict(self).values()
        kinds = [type(f.default) for f in dataclasses.fields(self)]
        return [type(value) for value in values] == kinds and all(v >= 0 for v in values if isinstance(v, int))

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def _other_episode(self, kind: str, episode_id: str) -> str:
        expected = repr(self.episode_id) if self.episode_id else "none: no episode of this spool is open"
        return f"{kind}.episode_id must be {expected}. Got: {episode_id!r}"
