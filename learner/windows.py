"""Batches of n-step windows, read from the rows of the replay buffer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from learner.batch_memory import BatchMemory, aligned_bytes
from learner.replay_rows import RowStorage
from policies.gripper import Gripper

# numpy arrays as they are drawn, torch tensors of the same shapes once a batch was moved to a GPU. Any, so that what
# reads a state alone need not import torch.
type Array = Any


def _no_toggles() -> np.ndarray:
    return np.empty(0, np.float32)


def _no_rows() -> np.ndarray:
    return np.empty(0, np.int32)


def _no_generations() -> np.ndarray:
    return np.empty(0, np.uint32)


@dataclass(frozen=True, slots=True)
class Batch:
    """B n-step transitions. S is the stack of a feature, D its size, A the action size.

    Attributes:
        observation: Per feature, vectors float32 (B, S * D), images uint8 (B, H, W, 3 * S); oldest frame first.
            Without images where the batch was drawn without.
        action: Chosen actions, float32 (B, A).
        reward: sum over i < k of gamma^i r_i, float32 (B,).
        discount: gamma^k, less where a person takes over at the window's end, 0 where it ends in termination, float32
            (B,).
        next_observation: After the last step of the window; like ``observation``.
        human: A person chose the action, bool (B,).
        k: Steps in the window, 1 to n, int64 (B,).
        demonstration: Drawn from the demonstration view, bool (B,).
        proposed: What the policy proposed, float32 (B, A); NaN where it proposed nothing.
        toggles: sum over i < k of gamma^i where step i changes the gripper's side, float32 (B,); empty where nobody
            counts that.
        rows: Row of the newest frame of each observation, int32 (B,); always numpy, and empty where no replay buffer
            made the batch, like the three that follow.
        next_rows: The same of each next observation, int32 (B,).
        generation: How often ``rows`` had been written, uint32 (B,): a row and its generation name one observation for
            good, so that what was computed of it can be kept.
        next_generation: The same of ``next_rows``, uint32 (B,).
    """

    observation: dict[str, Array]
    action: Array
    reward: Array
    discount: Array
    next_observation: dict[str, Array]
    human: Array
    k: Array
    demonstration: Array
    proposed: Array
    toggles: Array = field(default_factory=_no_toggles)
    rows: np.ndarray = field(default_factory=_no_rows)
    next_rows: np.ndarray = field(default_factory=_no_rows)
    generation: np.ndarray = field(default_factory=_no_generations)
    next_generation: np.ndarray = field(default_factory=_no_generations)

    def __len__(self) -> int:
        return len(self.reward)

    def mapped(self, change: Callable[[Array], Array]) -> Batch:
        """The batch with ``change`` of every array but ``rows``, ``generation`` and their like, in a fixed order."""
        return replace(
            self,
            observation={name: change(value) for name, value in self.observation.items()},
            next_observation={name: change(value) for name, value in self.next_observation.items()},
            **{name: change(getattr(self, name)) for name in _ARRAYS},
            toggles=change(self.toggles) if len(self.toggles) else self.toggles,
        )


type Wanted = Callable[[Batch], tuple[np.ndarray, np.ndarray] | None]
"""Says of which observations and next observations images are wanted, bool (B,) each; None for all."""

_ARRAYS = ("action", "reward", "discount", "human", "k", "demonstration", "proposed")


@dataclass(frozen=True, slots=True)
class _Images:
    """Images still to be copied: into ``out`` of ``observation[name]``, where they are not on a device."""

    observation: dict[str, Array]
    name: str
    rows: np.ndarray
    shifts: np.ndarray | None
    out: np.ndarray | None


class Draw:
    """A batch that is decided on and whole but for its images; ``read`` copies them.

    Until it is read or closed no row is written again, and what wants to write one waits. ``read`` may run in another
    thread than the one that applies records.

    Attributes:
        batch: The batch.
    """

    def __init__(self, storage: RowStorage, batch: Batch, images: list[_Images]):
        self.batch = batch
        self._storage = storage
        self._images = images
        self._reading = bool(images)
        if images:
            storage.readers.enter()

    def read(self, wanted: Wanted | None = None) -> Batch:
        """The batch with its images; of those that are not ``wanted``, whatever was in the memory."""
        try:
            masks = wanted(self.batch) if wanted is not None else None
            for image in self._images:
                mask = None if masks is None else masks[image.observation is self.batch.next_observation]
                image.observation[image.name] = self._gathered(image, mask)
        finally:
            self.close()
        return self.batch

    def _gathered(self, image: _Images, mask: np.ndarray | None) -> Array:
        gather = self._storage.images.gather
        if mask is None or image.out is None:
            return gather(image.name, image.rows, image.shifts, image.out)
        chosen = np.flatnonzero(mask)
        if len(chosen):
            shifts = None if image.shifts is None else image.shifts[chosen]
            image.out[chosen] = gather(
                image.name, image.rows[chosen], shifts, np.empty((len(chosen), *image.out.shape[1:]), np.uint8)
            )
        return image.out

    def close(self) -> None:
        """Lets rows be written again, whether or not the images were read."""
        if self._reading:
            self._reading = False
            self._storage.readers.leave()


class Windows:
    """Reads windows of up to ``n_step`` steps, discounted by ``gamma`` per step, with stacked observations.

    Args:
        storage: The rows; a window goes on from a row while its ``continues`` is set.
        stacks: Frames per feature.
        n_step: Longest window, at least 1.
        gamma: Discount per step, in [0, 1].
        takeover_discount: Factor on the discount of a window that ends where a person takes over, in [0, 1].
        gripper: Whose changes of side are counted; None to count none.
    """

    def __init__(
        self,
        storage: RowStorage,
        stacks: dict[str, int],
        n_step: int,
        gamma: float,
        takeover_discount: float = 1.0,
        gripper: Gripper | None = None,
    ):
        if n_step < 1:
            raise ValueError(f"n_step must be at least 1. Got: {n_step}")
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma must be in [0, 1]. Got: {gamma}")
        if not 0 <= takeover_discount <= 1:
            raise ValueError(f"takeover_discount must be in [0, 1]. Got: {takeover_discount}")
        self._storage = storage
        self._stacks = stacks
        self._n_step = n_step
        self._gripper = gripper
        self._takeover_discount = np.float32(takeover_discount)
        self._gammas = (float(gamma) ** np.arange(n_step + 1)).astype(np.float32)

    def batch_bytes(self, size: int, *, images: bool = True) -> int:
        """Bytes of a batch in a ``BatchMemory``."""
        shapes = [self._shape(f.name, size) for f in self._storage.features if images or not f.is_image]
        observations = 2 * sum(aligned_bytes(shape, dtype) for shape, dtype in shapes)
        actions = 2 * aligned_bytes((size, self._storage.action.shape[1]), np.float32)
        numbers = (2 + (self._gripper is not None)) * aligned_bytes((size,), np.float32) + aligned_bytes(
            (size,), np.int64
        )
        return observations + actions + numbers + 2 * aligned_bytes((size,), bool)

    def draw(
        self,
        rows: np.ndarray,
        demonstration: bool | np.ndarray = False,
        *,
        images: bool = True,
        shifts: dict[str, np.ndarray] | None = None,
        into: BatchMemory | None = None,
    ) -> Draw:
        """The windows that start at ``rows`` (B,), each the row of a step that may be sampled.

        Args:
            rows: Integers of shape (B,).
            demonstration: Whether they were drawn from the demonstration view: one for all, or bool (B,).
            images: Whether observations have their images.
            shifts: Per camera, (dy, dx) in [px] of the observation and of the next one, integers of shape (2, B, 2).
            into: Memory of the batch; None for new memory.
        """
        s = self._storage
        new = np.empty if into is None else into.array
        size = len(rows)
        reward = new((size,), np.float32)
        s.reward.take(rows, out=reward, mode="clip")
        k = new((size,), np.int64)
        k[...] = 1
        toggles = new((size if self._gripper else 0,), np.float32)
        if self._gripper:
            toggles[...] = self._toggled(self._gripper, rows)
        last = rows
        for i in range(1, self._n_step):
            goes_on = s.continues[last]
            last = np.where(goes_on, s.following[last], last)
            reward += np.where(goes_on, self._gammas[i] * s.reward[last], 0)
            if self._gripper:
                toggles += np.where(goes_on, self._gammas[i] * self._toggled(self._gripper, last), 0)
            k += goes_on
        following = s.following[last]
        discount = new((size,), np.float32)
        np.multiply(self._gammas[k], ~s.terminated[last], out=discount)
        if self._takeover_discount != 1:
            np.multiply(discount, self._takeover_discount, out=discount, where=s.taken_over[last])
        action, proposed = new((size, s.action.shape[1]), np.float32), new((size, s.action.shape[1]), np.float32)
        s.action.take(rows, axis=0, out=action, mode="clip")
        s.proposed.take(rows, axis=0, out=proposed, mode="clip")
        human, shown = new((size,), bool), new((size,), bool)
        s.human.take(rows, out=human, mode="clip")
        shown[...] = demonstration
        observation: dict[str, Array] = {}
        next_observation: dict[str, Array] = {}
        to_copy: list[_Images] = []
        for place, (at, found) in enumerate(((rows, observation), (following, next_observation))):
            for feature in s.features:
                name, stack = feature.name, self._stacks[feature.name]
                if not feature.is_image:
                    found[name] = new(*self._shape(name, size))
                    s.vector(name, at, stack, found[name])
                elif images:
                    moves = shifts[name][place] if shifts else None
                    out: Array = new(*self._shape(name, size)) if s.images.device is None else None
                    to_copy.append(_Images(found, name, s.stacked(at, stack), moves, out))
        batch = Batch(
            observation=observation,
            action=action,
            reward=reward,
            discount=discount,
            toggles=toggles,
            next_observation=next_observation,
            human=human,
            k=k,
            demonstration=shown,
            proposed=proposed,
            rows=np.array(rows, np.int32),
            next_rows=following,
            generation=s.generation[rows],
            next_generation=s.generation[following],
        )
        return Draw(s, batch, to_copy)

    def _toggled(self, gripper: Gripper, rows: np.ndarray) -> np.ndarray:
        """Whether the step taken from each of ``rows`` changes the gripper's side, bool (B,)."""
        last_command = self._storage.vectors[gripper.feature][rows, gripper.place]
        return gripper.toggles(self._storage.action[rows], last_command)

    def _shape(self, name: str, size: int) -> tuple[tuple[int, ...], type]:
        """Shape and dtype of a feature in a batch."""
        feature = next(f for f in self._storage.features if f.name == name)
        *whole, last = feature.shape
        return (size, *whole, last * self._stacks[name]), np.uint8 if feature.is_image else np.float32
