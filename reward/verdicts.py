"""The labels of every frame of a log: what was labelled, and what people said of episodes; the later word wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from episodes.outcome import Outcome
from reward.effective import PEOPLE, verdict_of_amendment, verdict_of_end
from reward.labels import FAILURE, SUCCESS, EpisodeLabels
from transport import records_pb2 as pb

_BEFORE_SUCCESS = 10
"""Frames before a success that a person named by its end alone: they may look like it already, and have no label."""
_WRONG_FRAMES = 5
"""Last frames of an episode that a person called no success though it was taken for one."""


@dataclass(frozen=True)
class _Said:
    """What a person said of a whole episode; ``time_ns`` is that of an amendment, and 0 for the episode's end."""

    outcome: Outcome
    frame: int
    wrongly_taken: bool = False
    time_ns: int = 0


class LoggedVerdicts:
    """Takes the records of a log one after another, as far as it has grown."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._said: dict[str, _Said] = {}
        self._taken: set[str] = set()

    def take(self, record: pb.Record) -> None:
        kind = record.WhichOneof("body")
        if kind == "start":
            self._sizes[record.start.episode_id] = 1
        elif kind == "step":
            self._sizes[record.step.episode_id] = record.step.index + 2
        elif kind == "end":
            end = record.end
            if end.outcome == Outcome.SUCCESS:
                self._taken.add(end.episode_id)
            verdict = verdict_of_end(end) if end.author in PEOPLE else None
            if verdict is not None:
                self._said[end.episode_id] = _Said(verdict.outcome, end.steps)
        elif kind == "amendment" and record.amendment.author in PEOPLE:
            amendment = record.amendment
            verdict = verdict_of_amendment(amendment)
            if verdict is not None:
                step = amendment.step if verdict.step is None else verdict.step
                taken = amendment.episode_id in self._taken
                self._said[amendment.episode_id] = _Said(verdict.outcome, step + 1, taken, amendment.time_ns)

    def labels(self, labelled: Mapping[str, EpisodeLabels]) -> dict[str, list[str]]:
        """The label of every frame by episode, empty for none; episodes of which nobody said anything are left out.

        Args:
            labelled: Labels given to frames. They go above how an episode ended, and above an amendment before them.
        """
        found = {}
        for episode, size in self._sizes.items():
            said, own = self._said.get(episode), labelled.get(episode)
            if own is not None and (said is None or own.time_ns >= said.time_ns):
                found[episode] = own.of_frames(size)
            elif said is not None:
                found[episode] = _of_verdict(size, said)
        return found

    def time_ns(self, episode: str, labelled: Mapping[str, EpisodeLabels]) -> int:
        """When the word behind the labels of an episode was said, Unix time; 0 where it is how the episode ended."""
        said, own = self._said.get(episode), labelled.get(episode)
        return max(said.time_ns if said else 0, own.time_ns if own else 0)


def _of_verdict(size: int, said: _Said) -> list[str]:
    if said.outcome is Outcome.SUCCESS:
        frame = min(said.frame, size - 1)
        sure = max(frame - _BEFORE_SUCCESS, 0)
        return [FAILURE] * sure + [""] * (frame - sure) + [SUCCESS] + [""] * (size - frame - 1)
    if said.outcome is Outcome.FAILURE:
        wrong = min(_WRONG_FRAMES, size) if said.wrongly_taken else 0
        return [FAILURE] * (size - wrong) + ["wrong"] * wrong
    return []
