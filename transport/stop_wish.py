"""When a second Ctrl-C or SIGTERM is a second wish: one rule for learners and actors."""

from __future__ import annotations

import time
from collections.abc import Callable

ACCIDENT_S = 0.7
"""A signal within this long of the first is the same wish: a key that bounced, or two programs that stop it [s]."""


class StopWish:
    """That something stops, as its signals say.

    Args:
        accident_s: As ACCIDENT_S.
        clock: Monotonic seconds.
    """

    def __init__(self, accident_s: float = ACCIDENT_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._accident_s, self._clock = accident_s, clock
        self._first_s = float("inf")

    def again(self) -> bool:
        """Called once for each signal: whether this one is a wish of its own, after the first."""
        now_s = self._clock()
        self._first_s = min(self._first_s, now_s)
        return now_s - self._first_s > self._accident_s
