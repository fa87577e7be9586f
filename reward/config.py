"""Where the reward of an actor comes from: the options of ``reward=env|classifier|human``. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONFIRM = 3
MIN_STEP = 3
"""Frames in a row that must look like success, unless the training of a classifier says otherwise."""


class RewardError(ValueError):
    """A reward setting, a classifier or labels that cannot be used. The text says what to do."""


@dataclass(frozen=True)
class EnvReward:
    """The environment's own reward and success."""


@dataclass(frozen=True)
class HumanReward:
    """A person's keys alone say what succeeded and what failed, during an episode or after its time-out."""


@dataclass(frozen=True)
class ClassifierReward:
    """A success classifier looks at every frame.

    Attributes:
        model: Classifier file, or a folder of `tandem reward train`; empty for the one that the learner hands out.
        pretrained: Folder or hub id of a reward classifier of LeRobot, instead of ``model``.
        threshold: Calibrated score in (0, 1) from which a frame looks like success; 0 for the classifier's own.
        confirm: So many frames in a row must look like success before it counts; 0 for the classifier's own, with which
            its threshold was chosen.
        min_step: No success before this step of an episode.
        gates: Conditions on the observed state that must hold besides the classifier's own, e.g.
            [tool.z>0.06,gripper.pos<0.6].
    """

    model: str = ""
    pretrained: str = ""
    threshold: float = 0.0
    confirm: int = 0
    min_step: int = MIN_STEP
    gates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.model and self.pretrained:
            raise RewardError("reward.model and reward.pretrained name two classifiers: leave one of them out")
        if not 0 <= self.threshold < 1:
            raise RewardError(f"reward.threshold must lie in [0, 1). Got: {self.threshold}")
        if self.confirm < 0:
            raise RewardError(f"reward.confirm must be 0 or more. Got: {self.confirm}")
        if self.min_step < 0:
            raise RewardError(f"reward.min_step must be 0 or more. Got: {self.min_step}")


RewardConfig = EnvReward | ClassifierReward | HumanReward

REWARDS: dict[str, type[RewardConfig]] = {"env": EnvReward, "classifier": ClassifierReward, "human": HumanReward}


def reward_config(name: str, settings: Mapping[str, Any]) -> RewardConfig:
    """The config of an option from its fields as JSON gives them."""
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()}
    return REWARDS[name](**fields)


def reward_name(config: RewardConfig) -> str:
    """The option whose config this is."""
    return next(name for name, kind in REWARDS.items() if isinstance(config, kind))
