"""Frame stacking, by one rule for the actor and for replay: the newest frame is last, the first one repeats."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def frame_indices(newest: np.ndarray | int, stack: int, first: np.ndarray | int = 0) -> np.ndarray:
    """Indices of the frames to stack, oldest first.

    Args:
        newest: Shape (...), index of the newest frame.
        stack: Number of frames.
        first: Shape (...) or a number, index of the episode's first frame, which repeats.

    Returns:
        Shape (..., stack).
    """
    newest = np.asarray(newest)
    return np.maximum(newest[..., None] - np.arange(stack - 1, -1, -1), np.asarray(first)[..., None])


def join_frames(frames: np.ndarray, *, image: bool) -> np.ndarray:
    """Frames (..., stack, D) to a vector (..., stack * D); images (..., stack, H, W, C) to (..., H, W, stack * C)."""
    if image:
        *batch, stack, height, width, channels = frames.shape
        return np.moveaxis(frames, -4, -2).reshape(*batch, height, width, stack * channels)
    *batch, stack, size = frames.shape
    return frames.reshape(*batch, stack * size)


class FrameStack:
    """The last frames of one episode, on the actor.

    ``reset`` with an episode's first observation, ``push`` every later one; both return the stacked observation.
    """

    def __init__(self, stacks: Mapping[str, int]) -> None:
        """``stacks`` maps each feature to its number of frames; other features of an observation are left out."""
        self._stacks = dict(stacks)
        self._frames: dict[str, list[np.ndarray]] = {}

    def reset(self, observation: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._frames = {name: [] for name in self._stacks}
        return self.push(observation)

    def push(self, observation: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Raises ValueError before the first ``reset``."""
        if self._stacks and not self._frames:
            raise ValueError("reset a frame stack with the first observation of an episode before pushing others")
        stacked = {}
        for name, stack in self._stacks.items():
            frames = self._frames[name]
            frames.append(observation[name])
            del frames[:-stack]
            if stack == 1:
                stacked[name] = observation[name]
                continue
            newest = len(frames) - 1
            chosen = np.stack([frames[i] for i in frame_indices(newest, stack)])
            stacked[name] = join_frames(chosen, image=observation[name].ndim == 3)
        return stacked
