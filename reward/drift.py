"""Whether the scores of now still come from the world that the classifier was trained in.

A classifier that sees what it knows gives scores like those of its held-out frames: some mixture of the scores of the
two classes, in whatever shares. When light or camera change, scores fall where neither class had any.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import numpy as np

from reward.classifier import Calibration

WINDOW = 300
"""Frames looked at together."""
EVERY = 50
"""Frames from one look to the next."""
_SHARES = np.linspace(0, 1, 101)
SURE = 3.0
"""Logits of frames that are told apart lie close together, and elsewhere for each network: beyond a score of 0.95, and
below one of 0.05, where they lie says nothing."""
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
LIMIT = 0.1
"""Largest distance between the two distributions, in [0, 1], that still counts as the same world. Frames
follow each other closely, so that a window of WINDOW holds some thirty independent ones. docs/reward-proof.md has how
often the alarm is a false one."""


def distance(logits: np.ndarray, calibration: Calibration) -> float:
    """Kolmogorov-Smirnov distance of logits, (N,), to the nearest mixture of the two classes' held-out logits; beyond
    SURE on either side all are alike."""
    negative, positive, found = (
        np.sort(np.clip(np.asarray(of), -SURE, SURE))
        for of in (calibration.negative_logits, calibration.positive_logits, logits)
    )
    values = np.unique(found)
    largest = np.zeros(len(_SHARES))
    for side in _SIDES:
        up_to = [np.searchsorted(of, values, side) / len(of) for of in (negative, positive, found)]
        mixtures = _SHARES[:, None] * up_to[1] + (1 - _SHARES[:, None]) * up_to[0]
        largest = np.maximum(largest, np.abs(mixtures - up_to[2]).max(axis=1))
    return float(largest.min())


class DriftMonitor:
    """Watches the scores of running.

    Args:
        calibration: Of the classifier; one without reference scores is never said to drift.

    Attributes:
        distance: At the last look; 0 before the first.
    """

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._logits: deque[float] = deque(maxlen=WINDOW)
        self._count = 0
        self.distance = 0.0

    @property
    def drifted(self) -> bool:
        return self.distance > LIMIT

    def add(self, logit: float) -> None:
        """Takes the calibrated logit of the next frame; one that is no number is left out."""
        if not self._calibration.negative_logits or not np.isfinite(logit):
            return
        self._logits.append(logit)
        self._count += 1
        if len(self._logits) == WINDOW and self._count % EVERY == 0:
            self.distance = distance(np.array(self._logits), self._calibration)
