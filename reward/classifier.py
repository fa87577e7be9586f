"""A trained success classifier: network, preprocessing and calibration together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from episodes.contract import Contract
from reward.calibration import sigmoid
from reward.config import CONFIRM
from reward.network import ClassifierNetwork, NetworkSpec
from reward.preprocessing import Preprocessing, stacked

_BATCH = 256


@dataclass(frozen=True)
class Calibration:
    """How logits become scores and decisions; measured on frames that no part of training has seen.

    Attributes:
        temperature: Logits are divided by it before the sigmoid.
        threshold: Score from which a frame looks like success.
        confirm: Frames in a row for which the threshold was chosen and with which the report's figures were measured.
        gates: Conditions on the observed state with which they were measured, and which hold wherever it runs.
        negative_logits, positive_logits: Quantiles of the calibrated logits of held-out frames of each class, evenly
            spaced: what scores are like when nothing has changed since training.
        looks: ``reward.looks.ranges`` of the frames of training, in the order of their cameras; empty where not known.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    confirm: int = CONFIRM
    negative_logits: tuple[float, ...] = ()
    positive_logits: tuple[float, ...] = ()
    gates: tuple[str, ...] = ()
    looks: tuple[float, ...] = ()


@dataclass(frozen=True)
class ClassifierSpec:
    """All of a classifier but its weights.

    Attributes:
        name: Of the classifier.
        task: Task of its data, for people.
        network: What its network is.
        preprocessing: Frames to the network's input.
        calibration: Logits to decisions.
    """

    name: str
    task: str
    network: NetworkSpec
    preprocessing: Preprocessing
    calibration: Calibration = field(default_factory=Calibration)


class SuccessClassifier:
    """Looks at the cameras of one moment and says how much it looks like success.

    Attributes:
        spec: What it is.
        version: NAME@HASH, by which rewards name it in the log.
    """

    def __init__(self, spec: ClassifierSpec, network: ClassifierNetwork, version: str) -> None:
        self.spec, self.version = spec, version
        self._network = network.eval()

    @property
    def calibration(self) -> Calibration:
        return self.spec.calibration

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(camera.name for camera in self.spec.preprocessing.cameras)

    def check(self, contract: Contract) -> None:
        """Raises FrameError where the cameras of a contract are not those of the training data."""
        self.spec.preprocessing.check(contract)

    @torch.inference_mode()
    def logits(self, frames: Mapping[str, np.ndarray]) -> np.ndarray:
        """Calibrated logits, float64 (N,), of frames uint8 (N, height, width, 3) by camera.

        Raises FrameError for frames that are not those of training.
        """
        count = len(next(iter(frames.values()))) if frames else 0
        parts = [
            self._network(self.spec.preprocessing({name: v[start : start + _BATCH] for name, v in frames.items()}))
            for start in range(0, max(count, 1), _BATCH)
        ]
        return torch.cat(parts).double().numpy() / self.spec.calibration.temperature

    def score(self, observation: Mapping[str, np.ndarray]) -> float:
        """Calibrated score in [0, 1] of one observation; NaN where the network gives no number.

        Raises FrameError for an image that is missing or not as in training.
        """
        return float(sigmoid(self.logits(stacked(observation)))[0])
