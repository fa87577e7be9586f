"""What a person marks while they record: which frames look like success, and what a near miss was of."""

from __future__ import annotations

from pathlib import Path

from actor.episode import Episode
from envs.teleop.operator import Event, OperatorInput
from episodes.outcome import Outcome
from reward.labels import FAILURE, HARD, SUCCESS, append_labels, read_labels, spans_of


class Marker:
    """Turns the key of one episode after another into labels beside its log.

    Nothing is written of an episode without a mark that was no near miss: nobody said what its frames look like.

    Args:
        folder: Of the recordings.
        author: ``person`` or ``operator``.
    """

    def __init__(self, folder: Path, author: str) -> None:
        self._folder, self._author = folder, author
        self._begin("")

    def _begin(self, episode_id: str) -> None:
        self._episode = episode_id
        self._labels: list[str] = []
        self._marked = self.looks_like_success = False

    def step(self, episode: Episode, said: OperatorInput) -> None:
        """Told after every turn of the loop: what was said was said of the newest frame before it."""
        if episode.episode_id != self._episode:
            self._begin(episode.episode_id)
        if said.events.count(Event.MARK) % 2:
            self.looks_like_success, self._marked = not self.looks_like_success, True
        seen = max(episode.steps, 1)
        self._labels += [""] * (seen - len(self._labels))
        self._labels[seen - 1] = SUCCESS if self.looks_like_success else FAILURE

    def end(self, episode: Episode, near_miss: str = "") -> None:
        """Writes the labels of an episode that has ended; of one that is repeated or was discarded there are none."""
        if episode.outcome in (Outcome.DISCARDED, Outcome.CUT) or episode.episode_id != self._episode:
            return
        if not self._marked and not (near_miss and episode.outcome is not Outcome.SUCCESS):
            return
        failure = near_miss or FAILURE
        labels = [label if label == SUCCESS else failure for label in self._labels]
        last = SUCCESS if episode.outcome is Outcome.SUCCESS else failure
        if not self.looks_like_success or last == SUCCESS:
            labels.append(last)
        append_labels(self._folder, episode.episode_id, spans_of(labels), self._author)


def count_near_misses(folder: Path) -> int:
    """Near misses among the labelled recordings of a folder."""
    return sum(any(span.label in HARD for span in e.spans) for e in read_labels(folder).values())
