"""Labelled frames in memory, and the split of them by episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from reward.config import RewardError
from reward.labels import HARD, LABELS, SUCCESS
from reward.preprocessing import CameraFrames


@dataclass(frozen=True)
class LabelledFrames:
    """Frames with their labels; N frames in all.

    Attributes:
        cameras: What the frames are of.
        images: uint8 (N, height, width, 3) by camera.
        labels: Of reward.labels, one per frame.
        episodes: Episode of each frame, as text that no two episodes of any source share.
        indices: Number of each frame within its episode, int (N,).
        gated: Bool (N,): a gate on the state rules success out there; by default nowhere.
        places: Where each frame's label can be changed: a command, or a file; by default empty.
    """

    cameras: tuple[CameraFrames, ...]
    images: dict[str, np.ndarray]
    labels: tuple[str, ...]
    episodes: tuple[str, ...]
    indices: np.ndarray
    gated: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    places: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.gated):
            object.__setattr__(self, "gated", np.zeros(len(self.labels), bool))
        if not self.places:
            object.__setattr__(self, "places", ("",) * len(self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def positive(self) -> np.ndarray:
        """Bool (N,): looks like success."""
        return np.array([label == SUCCESS for label in self.labels], bool)

    @property
    def hard(self) -> np.ndarray:
        """Bool (N,): a hard negative."""
        return np.array([label in HARD for label in self.labels], bool)

    def at(self, rows: np.ndarray | slice) -> dict[str, np.ndarray]:
        """Images of some rows, by camera."""
        return {name: value[rows] for name, value in self.images.items()}

    def subset(self, rows: np.ndarray) -> LabelledFrames:
        """Some rows, in this order."""
        pick = np.flatnonzero(rows) if rows.dtype == bool else rows
        return LabelledFrames(
            self.cameras,
            self.at(pick),
            tuple(self.labels[i] for i in pick),
            tuple(self.episodes[i] for i in pick),
            self.indices[pick],
            self.gated[pick],
            tuple(self.places[i] for i in pick),
        )

    def showing(self, images: dict[str, np.ndarray]) -> LabelledFrames:
        """The same frames with other images."""
        return replace(self, images=images)

    def of_episodes(self, episodes: Sequence[str]) -> np.ndarray:
        """Rows of these episodes, bool (N,)."""
        wanted = set(episodes)
        return np.array([episode in wanted for episode in self.episodes], bool)


def stacked(
    cameras: tuple[CameraFrames, ...],
    images: Mapping[str, Sequence[np.ndarray]],
    kept: Sequence[tuple[str, str, int]],
    places: tuple[str, ...],
) -> LabelledFrames:
    """Frames read one after another; ``kept`` has label, episode and number of each."""
    return LabelledFrames(
        cameras,
        {c.name: np.array(images[c.name], np.uint8).reshape(-1, c.height, c.width, 3) for c in cameras},
        tuple(label for label, _, _ in kept),
        tuple(episode for _, episode, _ in kept),
        np.array([index for _, _, index in kept], int),
        places=places,
    )


def joined(parts: Sequence[LabelledFrames]) -> LabelledFrames:
    """All frames of several sources. Raises RewardError where their cameras differ or there is none."""
    parts = [part for part in parts if len(part)]
    if not parts:
        raise RewardError("the data hold no labelled frame. Label some: tandem label data=FOLDER")
    for part in parts[1:]:
        if part.cameras != parts[0].cameras:
            raise RewardError(
                "the data differ in their cameras: expected\n  "
                + "\n  ".join(map(str, parts[0].cameras))
                + "\ngot\n  "
                + "\n  ".join(map(str, part.cameras))
                + "\nName the common ones with cameras=[...], or leave one of the folders out"
            )
    names = [camera.name for camera in parts[0].cameras]
    return LabelledFrames(
        parts[0].cameras,
        {name: np.concatenate([part.images[name] for part in parts]) for name in names},
        tuple(label for part in parts for label in part.labels),
        tuple(episode for part in parts for episode in part.episodes),
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.gated for part in parts]),
        tuple(place for part in parts for place in part.places),
    )


def counted(frames: LabelledFrames) -> str:
    """How many frames carry each label, and of how many episodes, in words."""
    found = {label: frames.labels.count(label) for label in LABELS if label in frames.labels}
    pairs = set(zip(frames.labels, frames.episodes, strict=True))
    return ", ".join(
        f"{count} of {label} from {sum(name == label for name, _ in pairs)} episodes" for label, count in found.items()
    )


def thinned(frames: LabelledFrames, rows: np.ndarray, most: int, rng: np.random.Generator) -> LabelledFrames:
    """At most ``most`` of the frames ``rows`` of each class, drawn evenly; hard negatives stay before others.

    Order is kept, but neighbours are lost: for fitting alone, because confirmation needs frames in a row.
    """
    keep = []
    for of_class in (rows[frames.positive[rows]], rows[~frames.positive[rows]]):
        order = rng.permutation(of_class)
        keep.append(order[np.argsort(~frames.hard[order], kind="stable")][:most])
    return frames.subset(np.sort(np.concatenate(keep)))


def folds(frames: LabelledFrames, count: int, rng: np.random.Generator, least: int = 2) -> list[np.ndarray]:
    """Rows of at most ``count`` groups of whole episodes, bool (N,) each: no episode is in two of them, and each group
    has frames of both classes. Frames that a gate rules out go with their episode and count for no class.

    Episodes with both classes are dealt out first, then those of one class to the groups with the fewest episodes of
    it. Raises RewardError where a class is in fewer than ``least`` episodes, at least 2.
    """
    by_episode: dict[str, list[int]] = {}
    for row, episode in enumerate(frames.episodes):
        by_episode.setdefault(episode, []).append(row)
    names = [list(by_episode)[i] for i in rng.permutation(len(by_episode))]
    of_classes = np.stack((frames.positive & ~frames.gated, ~frames.positive & ~frames.gated), axis=1)
    held = np.array([of_classes[by_episode[e]].sum(axis=0) for e in names]).reshape(-1, 2)
    for name, found in zip(("success", "no success"), (held > 0).sum(axis=0), strict=True):
        if found < least:
            raise RewardError(
                f"frames of {name} must come from at least {least} episodes, because a split by episode needs them on "
                f"every side. Got: {found}{' where the gates allow one' if frames.gated.any() else ''}. "
                "Record or label more"
            )
    alone = (held > 0) & (held[:, ::-1] == 0)
    most = int((held > 0).all(axis=1).sum() + alone.sum(axis=0).min())
    groups: list[list[str]] = [[] for _ in range(min(count, most))]
    episodes, loads = np.zeros((len(groups), 2), int), np.zeros((len(groups), 2), int)
    for i in sorted(range(len(names)), key=lambda i: ((held[i] > 0).sum(), held[i, 0]), reverse=True):
        of_class = 0 if held[i, 0] else 1
        place = int(np.lexsort((loads[:, of_class], episodes[:, of_class]))[0])
        groups[place].append(names[i])
        episodes[place] += held[i] > 0
        loads[place] += held[i]
    return [frames.of_episodes(group) for group in groups]
