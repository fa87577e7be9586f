"""The classifier at work on one episode after another: confirmed over several frames, gated, safe where it is blind.

Whatever is wrong with a frame or a score, the answer is "no success".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from episodes.contract import Contract
from reward.calibration import sigmoid
from reward.classifier import Calibration
from reward.config import ClassifierReward
from reward.drift import DriftMonitor
from reward.gates import Gate, parse_gates
from reward.looks import LookMonitor
from reward.preprocessing import FrameError, stacked


class Classifier(Protocol):
    """What the judge needs of a classifier, ours or another's."""

    version: str

    @property
    def calibration(self) -> Calibration: ...

    @property
    def cameras(self) -> Sequence[str]:
        """Names of those it looks at, in the order of ``calibration.looks``."""

    def check(self, contract: Contract) -> None:
        """Raises FrameError where it cannot look at the cameras of this contract."""

    def logits(self, frames: Mapping[str, np.ndarray]) -> np.ndarray:
        """Calibrated logits (N,). Raises FrameError for frames it cannot look at."""


@dataclass(frozen=True)
class Judgement:
    """What a frame looks like.

    Attributes:
        score: Calibrated, in [0, 1]; NaN where there is none.
        success: Success is confirmed at this frame.
    """

    score: float
    success: bool


class SuccessJudge:
    """Judges frames with one classifier.

    Args:
        classifier: Looks at frames.
        config: Threshold, confirmation, first step and gates.
        contract: Of the environment. Raises FrameError or RewardError where the classifier or a gate does not fit it.

    Attributes:
        version: Of the classifier.
        threshold: Score from which a frame looks like success.
        confirm: Frames in a row that must.
        looks: Watches the frames.
        drift: Watches the scores where the gates of training hold: what they rule out was not learned from.
        fault: Why the last frame had no score; empty where it had one.
        closed: The first gate that did not hold at the last frame; None where all held.
        streak: Frames in a row, up to the last one, that looked like success.
        early: They are enough, and only the first step from which success counts has not come.
    """

    def __init__(self, classifier: Classifier, config: ClassifierReward, contract: Contract) -> None:
        classifier.check(contract)
        self._classifier, self._config = classifier, config
        self._learned_gates = parse_gates(classifier.calibration.gates, contract)
        self._gates = (*self._learned_gates, *parse_gates(config.gates, contract))
        self.version = classifier.version
        self.threshold = config.threshold or classifier.calibration.threshold
        self.confirm = config.confirm or classifier.calibration.confirm
        self.looks = LookMonitor(classifier.cameras, classifier.calibration.looks)
        self.drift = DriftMonitor(classifier.calibration)
        self.fault = ""
        self.closed: Gate | None = None
        self.streak = 0
        self.early = False

    def begin_episode(self) -> None:
        self.closed, self.streak, self.early = None, 0, False

    def judge(self, observation: Mapping[str, np.ndarray], step: int, *, held: bool = False) -> Judgement:
        """Of the observation after step ``step``; ``held`` where it may not be of this moment."""
        logit = math.nan if held else self._logit(observation)
        if not held and not self.fault:
            self.looks.add(observation)
        score = float(sigmoid(np.array(logit)))
        self.closed = next((gate for gate in self._gates if not gate.holds(observation)), None)
        if self.closed not in self._learned_gates:
            self.drift.add(logit)
        looks = score >= self.threshold and self.closed is None
        self.streak = self.streak + 1 if looks else 0
        confirmed = self.streak >= self.confirm
        self.early = confirmed and step < self._config.min_step
        return Judgement(score, confirmed and not self.early)

    def _logit(self, observation: Mapping[str, np.ndarray]) -> float:
        try:
            logit = float(self._classifier.logits(stacked(observation))[0])
        except FrameError as error:
            self.fault = str(error)
            return math.nan
        self.fault = "" if math.isfinite(logit) else "the classifier gave no number"
        return logit if math.isfinite(logit) else math.nan
