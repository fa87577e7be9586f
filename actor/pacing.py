"""When the next control step begins: at a fixed rate on absolute deadlines, or as soon as the learner allows."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

_EVERY_S = 0.005
_CLEAR_S = 0.010
"""What is done while waiting ends this long before the deadline, if it takes no longer."""


def _nothing(left_s: float) -> None:
    pass


class Pacer(Protocol):
    """Called between two steps.

    Attributes:
        overruns: Periods that began late because the one before took too long.
        skipped: Whole periods that were left out so as to keep to the deadlines.
        spare_s: What may still be done after ``wait`` without being late [s].
    """

    overruns: int
    skipped: int
    spare_s: float

    def restart(self) -> None:
        """Forgets the deadline: after waiting for a person, a reset or the learner."""

    def wait(self, meanwhile: Callable[[float], None] = _nothing) -> float:
        """Blocks until the next step may begin. Returns by how much it begins late, in ms; 0 without a deadline.

        Args:
            meanwhile: Called with the seconds left, now and then where there is time, the last time _CLEAR_S before
                the deadline.
        """

    @property
    def errors_ms(self) -> tuple[float, float]:
        """p50 and p99 of the lateness of the last 1000 steps, in ms."""


class RealtimePacer:
    """Deadlines at ``start + k * period``: an error never adds up, and a missed deadline is skipped, not caught up.

    Args:
        hz: Control rate.
        clock: Monotonic seconds.
        sleep: Sleeps for seconds.
    """

    def __init__(
        self, hz: float, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        if not hz > 0:
            raise ValueError(f"realtime pacing needs a control rate above 0 Hz. Got: {hz}")
        self.period_s = 1 / hz
        self.spare_s = 0.0
        self.overruns = 0
        self.skipped = 0
        self._clock = clock
        self._sleep = sleep
        self._start = 0.0
        self._count = 0
        self._errors: deque[float] = deque(maxlen=1000)
        self.restart()

    def restart(self) -> None:
        self._start = self._clock()
        self._count = -1

    def wait(self, meanwhile: Callable[[float], None] = _nothing) -> float:
        self._count += 1
        behind = self._clock() - self._deadline
        if behind > 0:
            if self._count:
                self.overruns += 1
            missed = int(behind / self.period_s)
            self._count += missed
            self.skipped += missed
        else:
            while (left := self._deadline - self._clock()) > 0:
                spare = left - _CLEAR_S
                self._sleep(min(_EVERY_S, spare) if spare > _EVERY_S / 10 else left)
                if (left := self._deadline - self._clock()) >= _CLEAR_S:
                    meanwhile(left)
        error_ms = (self._clock() - self._deadline) * 1e3
        self._errors.append(error_ms)
        return error_ms

    @property
    def errors_ms(self) -> tuple[float, float]:
        if not self._errors:
            return 0.0, 0.0
        p50, p99 = np.percentile(np.fromiter(self._errors, float), (50, 99))
        return float(p50), float(p99)

    @property
    def _deadline(self) -> float:
        return self._start + self._count * self.period_s


class LockstepPacer:
    """No clock: a step begins as soon as it may. What holds it is the learner's credit, asked by the control loop."""

    spare_s = math.inf
    overruns = 0
    skipped = 0
    errors_ms = (0.0, 0.0)

    def restart(self) -> None:
        pass

    def wait(self, meanwhile: Callable[[float], None] = _nothing) -> float:
        return 0.0
