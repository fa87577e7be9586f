"""From the publication of a policy version to the arrival of the first step it acted, by the learner's clock alone."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from metrics import names

RECENT = 200
_VERSIONS_KEPT = 1000


class ActingLag:
    """The newest delays, one for each version and actor. All methods may be called from any thread.

    Versions that an actor skips do not count, nor does the first that it is heard to act with: it may have joined long
    after that was published.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._published_s: dict[int, float] = {}
        self._acting: dict[str, int] = {}  # newest version by spool
        self._lags_ms: deque[float] = deque(maxlen=RECENT)

    def published(self, version: int) -> None:
        """``version`` can be pulled from now on."""
        with self._lock:
            self._published_s[version] = self._clock()
            if len(self._published_s) > _VERSIONS_KEPT:
                del self._published_s[next(iter(self._published_s))]

    def acted(self, spool_id: str, version: int) -> None:
        """A training step of ``spool_id`` arrived that ``version`` acted."""
        now_s = self._clock()
        with self._lock:
            newest = self._acting.setdefault(spool_id, version)
            if version <= newest:
                return
            self._acting[spool_id] = version
            if (published_s := self._published_s.get(version)) is not None:
                self._lags_ms.append((now_s - published_s) * 1e3)

    def metrics(self) -> dict[str, float]:
        """Median and 99th percentile of the newest delays, by their names in ``metrics.names``; empty without any."""
        with self._lock:
            lags_ms = np.array(self._lags_ms)
        if not lags_ms.size:
            return {}
        p50, p99 = np.percentile(lags_ms, (50, 99))
        return {names.PUBLISH_TO_ACTING_MS_P50: float(p50), names.PUBLISH_TO_ACTING_MS_P99: float(p99)}
