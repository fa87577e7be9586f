"""The rows of the replay buffer: one per observation, with the step taken from it beside it."""

from __future__ import annotations

import math
import struct
import threading
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from episodes.contract import Contract, Feature
from learner.image_columns import ImageColumns
from learner.row_set import RowSet
from policies.stacking import join_frames

NO_ROW = -1
MOST_ROWS = 2**31 - 1


class Readers:
    """Counts who reads rows, so that one who wants to write them again can wait."""

    def __init__(self) -> None:
        self._count = 0
        self._none = threading.Condition()

    def enter(self) -> None:
        with self._none:
            self._count += 1

    def leave(self) -> None:
        with self._none:
            self._count -= 1
            self._none.notify_all()

    def wait_for_none(self) -> None:
        with self._none:
            self._none.wait_for(lambda: not self._count)


class RowStorage:
    """Preallocated columns, touched only where a row was written, and the rows that are free.

    A row holds an observation and, once the step taken from it is over, that step. The observation after a step is the
    next row, so each is stored once: an episode of T steps takes T + 1 rows.

    Args:
        contract: Of the run.
        capacity_bytes: Memory of all columns.
        device: Torch device that keeps the images; None for the memory of this process.

    Attributes:
        capacity: Number of rows.
        features: Observation features as they are stored, in the order of the wire.
        images: Columns of the image features.
        vectors: Column of every other feature, shape (capacity, D), in the feature's dtype.
        generation: How often a row was written anew, uint32 (capacity,); with the row it names a frame.
        readers: Who reads images; rows are given back, and so written again, only while nobody does.
        action: Chosen actions, float32 (capacity, A).
        proposed: Actions proposed by the policy, float32 (capacity, A); NaN where none was.
        recorded_reward: Reward by source order, before any verdict, float32 (capacity,).
        recorded_terminated, recorded_truncated: As recorded, bool (capacity,).
        usable: The step may be sampled as far as it was recorded: neither held nor interrupted, every number finite.
        reward: Effective reward, float32 (capacity,).
        terminated: Effective, bool (capacity,).
        human: A person chose the action, bool (capacity,).
        taken_over: The policy chose the action and a person the next, bool (capacity,).
        continues: A window that holds this step may go on with the next one, bool (capacity,).
        following: Row of the observation after the step, int32 (capacity,); NO_ROW where there is none yet.
        preceding: Row of the frame before this one; a first frame precedes itself, int32 (capacity,).
    """

    def __init__(self, contract: Contract, capacity_bytes: int, device: Any = None):
        self.features: tuple[Feature, ...] = contract.stored
        size = contract.interface.action.shape[0]
        self.capacity = n = min(int(capacity_bytes // row_bytes(contract)), MOST_ROWS)
        if n < 2:
            raise ValueError(
                f"replay capacity must hold at least 2 rows of {row_bytes(contract)} bytes. "
                f"Got: {capacity_bytes} bytes; raise replay.capacity_gb"
            )
        images = [f for f in self.features if f.is_image]
        vectors = [f for f in self.features if not f.is_image]
        self.images = ImageColumns(images, n, device)
        self.vectors = {f.name: np.empty((n, *f.shape), f.dtype) for f in vectors}
        self.generation = np.zeros(n, np.uint32)
        self.readers = Readers()
        self.action = np.empty((n, size), np.float32)
        self.proposed = np.empty((n, size), np.float32)
        self.recorded_reward = np.empty(n, np.float32)
        self.reward = np.empty(n, np.float32)
        self.recorded_terminated = np.empty(n, bool)
        self.recorded_truncated = np.empty(n, bool)
        self.terminated = np.empty(n, bool)
        self.usable = np.empty(n, bool)
        self.human = np.empty(n, bool)
        self.taken_over = np.empty(n, bool)
        self.continues = np.empty(n, bool)
        self.following = np.empty(n, np.int32)
        self.preceding = np.empty(n, np.int32)
        self._image_places = [(i, f.name) for i, f in enumerate(self.features) if f.is_image]
        self._vector_places = [
            (i, memoryview(self.vectors[f.name].reshape(-1).view(np.uint8)), f.nbytes)
            for i, f in enumerate(self.features)
            if not f.is_image
        ]
        self._floats = [self.vectors[f.name] for f in vectors if f.dtype == "float32"]
        self._action_bytes = memoryview(self.action.reshape(-1).view(np.uint8))
        self._proposed_bytes = memoryview(self.proposed.reshape(-1).view(np.uint8))
        self._action_format = struct.Struct(f"={size}f")
        self._no_action = (float("nan"),) * size
        self.reward_at = _scalars(self.reward)
        self.recorded_reward_at = _scalars(self.recorded_reward)
        self.recorded_terminated_at = _scalars(self.recorded_terminated)
        self.recorded_truncated_at = _scalars(self.recorded_truncated)
        self.terminated_at = _scalars(self.terminated)
        self.usable_at = _scalars(self.usable)
        self.human_at = _scalars(self.human)
        self.taken_over_at = _scalars(self.taken_over)
        self.continues_at = _scalars(self.continues)
        self.following_at = _scalars(self.following)
        self.preceding_at = _scalars(self.preceding)
        self.generation_at = _scalars(self.generation)
        self._freed = array("i")
        self._fresh = 0

    @property
    def free(self) -> int:
        """Rows that can be taken without evicting anything."""
        return self.capacity - self._fresh + len(self._freed)

    def take(self) -> int:
        """A free row; there must be one."""
        if self._freed:
            return self._freed.pop()
        self._fresh += 1
        return self._fresh - 1

    def give_back(self, rows: Iterable[int]) -> None:
        """Frees rows, as soon as no batch is being read.

        They come back in the same order, so that an episode's frames tend to lie side by side.
        """
        self.readers.wait_for_none()
        self._freed.extend(reversed(array("i", rows)))

    def write_observation(self, row: int, observation: Sequence[bytes], preceding: int) -> bool:
        """Stores one frame of every feature. False where a number of it is not finite.

        Args:
            row: Where to.
            observation: Raw bytes per feature, in the order of the wire.
            preceding: Row of the frame before; ``row`` itself for a first frame.
        """
        for place, column, size in self._vector_places:
            column[row * size : (row + 1) * size] = observation[place]
        for place, name in self._image_places:
            self.images.write(name, row, observation[place])
        self.generation_at[row] = (self.generation_at[row] + 1) & 0xFFFFFFFF
        self.preceding_at[row] = preceding
        self.following_at[row] = NO_ROW
        self.usable_at[row] = False
        self.continues_at[row] = False
        for floats in self._floats:
            values = floats[row]
            # A sum is finite unless a number is not, or it overflowed: one call in the usual case.
            if not math.isfinite(np.add.reduce(values)) and not np.isfinite(values).all():
                return False
        return True

    def write_action(self, row: int, chosen: Sequence[float], proposed: Sequence[float]) -> None:
        """Stores the action taken from a row; a policy that proposed nothing leaves NaN."""
        pack, size = self._action_format.pack_into, self._action_format.size
        pack(self._action_bytes, row * size, *chosen)
        pack(self._proposed_bytes, row * size, *(proposed or self._no_action))

    def stacked(self, rows: np.ndarray, stack: int) -> np.ndarray:
        """Rows of the last ``stack`` frames up to each of ``rows``, oldest first, shape (*rows.shape, stack).

        The first frame of an episode repeats, as in ``policies.stacking.FrameStack``.
        """
        frames = [rows]
        for _ in range(stack - 1):
            frames.append(self.preceding[frames[-1]])
        return np.stack(frames[::-1], axis=-1)

    def vector(self, name: str, rows: np.ndarray, stack: int, out: np.ndarray) -> None:
        """Copies the stacked vectors at ``rows`` (B,) into ``out`` (B, stack * D) float32."""
        column = self.vectors[name]
        if stack == 1 and column.dtype == out.dtype:
            column.take(rows, axis=0, out=out, mode="clip")
        else:
            out[...] = join_frames(column.take(self.stacked(rows, stack), axis=0), image=False)


def _scalars(column: np.ndarray) -> memoryview[Any]:
    """The column for reading and writing one number at a time, at half of what numpy's indexing costs."""
    return memoryview(column)


def row_bytes(contract: Contract) -> int:
    """Bytes of one row of the replay buffer with everything kept beside it."""
    actions = 2 * contract.interface.action.nbytes
    rewards, flags, links, generation = 2 * 4, 6 * 1, 2 * 4, 4
    views = 2 * RowSet.BYTES_PER_ROW
    lists = 2 * 5  # its place in the episode's and in the free list: int32, grown by an eighth at a time
    beside = actions + rewards + flags + links + generation + views + lists
    return sum(f.nbytes for f in contract.stored) + beside
