"""Labels of frames: which look like success and which do not, said by a person; ``labels.jsonl`` beside a log.

Frame i of an episode is its i-th observation: 0 is the first one, i + 1 the one after step i. One line holds all labels
of one episode; lines are only ever appended, and the last one of an episode counts, unless the episode's outcome was
changed after it (``reward.verdicts``).
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reward.config import RewardError

FILE = "labels.jsonl"
SUCCESS, FAILURE = "success", "failure"
HARD = ("almost", "air", "drop", "wrong")
"""Hard negatives; ``wrong`` is what a classifier took for success and a person did not."""
LABELS = (SUCCESS, FAILURE, *HARD)


@dataclass(frozen=True)
class Span:
    """Frames ``first`` to ``last`` of an episode, both included, carry this label."""

    first: int
    last: int
    label: str

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise RewardError(f"a label must be one of {', '.join(LABELS)}. Got: {self.label!r}")
        if not 0 <= self.first <= self.last:
            raise RewardError(f"a labelled span must have 0 <= first <= last. Got: {self.first} and {self.last}")


def append_labels(folder: Path, episode_id: str, spans: Iterable[Span], author: str, *, finished: bool = True) -> None:
    """Adds a line: all labels of one episode, in place of those it had. On the disk when this returns.

    Args:
        folder: Of the run or the recordings.
        episode_id: 32 hexadecimal digits.
        spans: The labels; frames in none of them have no label.
        author: ``person``, ``operator``.
        finished: Whether the person is done with this episode.
    """
    line = {
        "episode": episode_id,
        "spans": [[s.first, s.last, s.label] for s in spans],
        "author": author,
        "finished": finished,
        "time_ns": time.time_ns(),
    }
    with open(folder / FILE, "ab") as file:
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


@dataclass(frozen=True)
class EpisodeLabels:
    """The labels of one episode.

    Attributes:
        spans: Labelled frames.
        finished: Whether the person is done with it.
        time_ns: When they were given, Unix time.
    """

    spans: tuple[Span, ...]
    finished: bool = True
    time_ns: int = 0

    def of_frames(self, count: int) -> list[str]:
        """The label of each of ``count`` frames; empty where it has none."""
        labels = [""] * count
        for span in self.spans:
            for index in range(span.first, min(span.last + 1, count)):
                labels[index] = span.label
        return labels


def read_labels(folder: Path) -> dict[str, EpisodeLabels]:
    """Labels by episode; empty where nobody gave any. A torn last line is ignored.

    Raises RewardError where a line before it is damaged.
    """
    try:
        lines = (folder / FILE).read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    found = {}
    for number, line in enumerate(lines[:-1], start=1):
        try:
            values = json.loads(line)
            spans = tuple(Span(int(a), int(b), str(label)) for a, b, label in values["spans"])
            found[str(values["episode"])] = EpisodeLabels(
                spans, bool(values["finished"]), int(values.get("time_ns", 0))
            )
        except (ValueError, KeyError, TypeError) as error:
            raise RewardError(
                f"{folder / FILE}, line {number}, is no label: {error}. Mend or delete the line"
            ) from None
    return found


def spans_of(labels: Iterable[str]) -> list[Span]:
    """The spans that give every frame its label; the inverse of ``EpisodeLabels.of_frames``."""
    spans: list[Span] = []
    for index, label in enumerate(labels):
        if spans and spans[-1].label == label and spans[-1].last == index - 1:
            spans[-1] = Span(spans[-1].first, index, label)
        elif label:
            spans.append(Span(index, index, label))
    return spans


def label_place(folder: Path, episode: str, frame: int) -> str:
    """The command that opens a frame where its label can be changed."""
    return shlex.join(("tandem", "label", f"data={folder.resolve()}", f"episode={episode}", f"frame={frame}"))


def counts(labels: Mapping[str, EpisodeLabels]) -> dict[str, int]:
    """How many frames carry each label."""
    sums = dict.fromkeys(LABELS, 0)
    for episode in labels.values():
        for span in episode.spans:
            sums[span.label] += span.last + 1 - span.first
    return sums
