"""The Wilson score interval of a success rate."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Interval (low, high) in [0, 1] of the rate behind ``successes`` out of ``trials``; 95 % by default.

    Wilson (1927), with p = successes / trials and n = trials:
    (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n). With no trials nothing is known: (0, 1).
    Raises ValueError unless 0 <= successes <= trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in [0, {trials}]. Got: {successes}")
    if trials == 0:
        return 0.0, 1.0
    p, n = successes / trials, trials
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
    low = 0.0 if successes == 0 else max(centre - half, 0.0)
    high = 1.0 if successes == trials else min(centre + half, 1.0)
    return low, high
