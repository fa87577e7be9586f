"""A set of replay rows from which every member is drawn with the same probability."""

from __future__ import annotations

import numpy as np


class RowSet:
    """Rows in [0, capacity); ``add`` and ``discard`` cost O(1) and the order depends only on the calls made.

    Nine-tenths of a learner's capacity may never be used, so nothing is touched before its row is added.
    """

    BYTES_PER_ROW = 8

    def __init__(self, capacity: int):
        self._members = np.zeros(capacity, np.int32)
        self._places = np.zeros(capacity, np.int32)  # place in _members plus 1, so that fresh pages mean absent
        self._member_at = memoryview(self._members)
        self._place_of = memoryview(self._places)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, row: int) -> bool:
        return self._place_of[row] > 0

    @property
    def rows(self) -> np.ndarray:
        """A read-only view of all members, int32 of shape (len(self),)."""
        rows = self._members[: self._size]
        rows.flags.writeable = False
        return rows

    def add(self, row: int) -> None:
        if self._place_of[row]:
            return
        self._member_at[self._size] = row
        self._size += 1
        self._place_of[row] = self._size

    def discard(self, row: int) -> None:
        place = self._place_of[row]
        if not place:
            return
        last = self._member_at[self._size - 1]
        self._member_at[place - 1] = last
        self._place_of[last] = place
        self._place_of[row] = 0
        self._size -= 1

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """``count`` members, uniformly with replacement, int32 of shape (count,)."""
        return self._members[rng.integers(0, self._size, count)]
