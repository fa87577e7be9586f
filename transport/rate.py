"""How often a caller is heard: whoever asks more often waits, and costs the others less."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_WAIT_S = 2.0
_MOST_HOSTS = 1024


class Rate:
    """So many turns a second, and a few more at once after a pause (a token bucket).

    Args:
        per_s: Turns a second.
        burst: Turns without waiting after a long pause.
        clock: Monotonic seconds.
    """

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._turn_s = 1.0 / per_s
        self._burst_s = burst * self._turn_s
        self._clock = clock
        self._used_to_s = float("-inf")

    def wait_s(self) -> float:
        """Takes a turn; how long to wait before it [s], MOST_WAIT_S at most."""
        now_s = self._clock()
        used_to_s = max(self._used_to_s, now_s - self._burst_s) + self._turn_s
        if used_to_s - now_s > MOST_WAIT_S:
            return MOST_WAIT_S
        self._used_to_s = used_to_s
        return max(0.0, used_to_s - now_s)


class Turns:
    """Callers that take their turns at a rate, one after the other. Who hangs up while waiting costs the rest none."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._rate, self._queue = Rate(per_s, burst), asyncio.Lock()

    async def wait(self) -> None:
        """Returns when it is the caller's turn."""
        async with self._queue:
            await asyncio.sleep(self._rate.wait_s())


class TurnsOfEach:
    """Turns for each host; the one not heard for longest is forgotten."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s, self._burst = per_s, burst
        self._of: OrderedDict[str, Turns] = OrderedDict()

    async def wait(self, host: str) -> None:
        """Returns when it is the turn of a caller from ``host``."""
        turns = self._of.pop(host, None) or Turns(self._per_s, self._burst)
        self._of[host] = turns
        if len(self._of) > _MOST_HOSTS:
            self._of.popitem(last=False)
        await turns.wait()
