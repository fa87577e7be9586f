"""How bright each camera's frames are, and how rich in contrast: a cover, a lamp or an exposure shows here, even where
a classifier stays as sure as it was."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

WINDOW = 50
"""Frames whose median counts."""
TOLERATED = 0.5
"""It may be this share below the least of training, or above the most: no more than augmentation shows."""
MEASURES = ("brightness", "contrast")
_STEP = 4
_BLOCK = 1000


def looks(images: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of every fourth pixel, (N, 2) in [0, 255], of frames uint8 (N, H, W, 3)."""
    blocks = (images[i : i + _BLOCK, ::_STEP, ::_STEP] for i in range(0, len(images), _BLOCK))
    return np.concatenate([np.stack((of.mean((1, 2, 3)), of.std((1, 2, 3))), 1) for of in blocks])


def ranges(images: Mapping[str, np.ndarray]) -> tuple[float, ...]:
    """Lowest and highest brightness, then contrast, of frames (N, H, W, 3) of each camera, one camera after another."""
    found: list[float] = []
    for value in images.values():
        seen = looks(value)
        for measure in range(len(MEASURES)):
            found += [float(seen[:, measure].min()), float(seen[:, measure].max())]
    return tuple(found)


class LookMonitor:
    """Watches the frames of running.

    Args:
        cameras: Names.
        known: ``ranges`` of training, of these cameras; empty where they are not known.

    Attributes:
        changed: What looks other than in training, in words; empty where nothing does.
    """

    def __init__(self, cameras: Sequence[str], known: Sequence[float]) -> None:
        self._known = np.array(known).reshape(-1, len(MEASURES), 2)
        self._seen = {camera: deque[np.ndarray](maxlen=WINDOW) for camera in cameras[: len(self._known)]}
        self.changed = ""

    def add(self, observation: Mapping[str, np.ndarray]) -> None:
        """Takes the frames of a moment."""
        said = ""
        for (camera, seen), known in zip(self._seen.items(), self._known, strict=True):
            if camera in observation:
                seen.append(looks(observation[camera][None])[0])
            if len(seen) == WINDOW:
                said = said or _other(camera, np.median(seen, axis=0), known)
        self.changed = said


def _other(camera: str, now: np.ndarray, known: np.ndarray) -> str:
    for name, value, (low, high) in zip(MEASURES, now, known, strict=True):
        if not (1 - TOLERATED) * low <= value <= (1 + TOLERATED) * high:
            short = camera.rpartition(".")[2]
            return f"camera {short}: {name} {value:.0f} of 255, in training {low:.0f} to {high:.0f}"
    return ""
