"""The contract of a run: what its observations, actions and rewards are, and how a policy sees them.

A contract has two parts with a fingerprint each. The *interface* is fixed for a run. The *view* may be re-rendered from
data that kept raw frames. Both sides derive the contract from the environment's config on their own and compare.

An image is cropped and resized once, on the actor (``envs.image_view``): what is sent, logged, replayed and shown to
the policy has the sizes of ``Contract.stored``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from transport import records_pb2 as pb

IMAGE_PREFIX = "observation.images."


class ContractError(ValueError):
    """A contract that is malformed, or two that differ."""


@dataclass(frozen=True)
class Feature:
    """One named array.

    Attributes:
        name: LeRobot feature name, e.g. ``observation.state`` or ``observation.images.front``.
        dtype: ``float32`` or ``uint8``.
        shape: Shape of one frame; images are (height, width, 3) RGB.
        components: One name per component of a vector; empty for images.
        units: One unit per component, e.g. ``m`` or ``rad``; empty for images.
        low: Lower bound per component, or one for all; -inf where there is none.
        high: Upper bound per component, or one for all; inf where there is none.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    components: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "uint8"):
            raise ContractError(f"feature {self.name!r} must have dtype float32 or uint8. Got: {self.dtype!r}")
        if self.is_image and (self.dtype != "uint8" or len(self.shape) != 3 or self.shape[2] != 3):
            raise ContractError(
                f"feature {self.name!r} must be uint8 of shape (height, width, 3). Got: {self.dtype} {self.shape}"
            )
        if not self.is_image and len(self.shape) != 1:
            raise ContractError(f"feature {self.name!r} must be a vector. Got shape: {self.shape}")

    @property
    def is_image(self) -> bool:
        return self.name.startswith(IMAGE_PREFIX)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class RewardBounds:
    """What the reward of a step can be, where the environment states it.

    Attributes:
        bounded: False where nothing is stated: targets are then never clamped.
        low: Least reward of one step.
        high: Greatest reward of one step.
        only_at_end: A nonzero reward comes only with termination, so that a return lies in [low, high] too.
    """

    bounded: bool = False
    low: float = 0.0
    high: float = 0.0
    only_at_end: bool = False

    def returns(self, gamma: float) -> tuple[float, float] | None:
        """Bounds of the discounted return, or None where the contract states none."""
        if not self.bounded:
            return None
        if self.only_at_end:
            return min(self.low, 0.0), max(self.high, 0.0)
        return min(self.low, 0.0) / (1 - gamma), max(self.high, 0.0) / (1 - gamma)


@dataclass(frozen=True)
class Interface:
    """Names, sizes, units and meanings; fixed for a run.

    Attributes:
        task: Name of the task, e.g. ``so101_sim/lift``.
        observations: Features of an observation, in the order of the wire and the log, images at their captured size.
        action: The action feature, named ``action``, with components in [low, high].
        action_meaning: What an action does, in words.
        gripper_sign: e.g. ``+1 open``; empty where there is no gripper.
        control_hz: Control rate; 0 where time has no meaning.
        reward: Stated bounds of the reward.
    """

    task: str
    observations: tuple[Feature, ...]
    action: Feature
    action_meaning: str = ""
    gripper_sign: str = ""
    control_hz: float = 0.0
    reward: RewardBounds = field(default_factory=RewardBounds)

    def feature(self, name: str) -> Feature:
        for feature in self.observations:
            if feature.name == name:
                return feature
        raise ContractError(f"no observation feature {name!r}. There are: {[f.name for f in self.observations]}")


@dataclass(frozen=True)
class FeatureView:
    """How one feature reaches the policy.

    Attributes:
        name: Of the feature.
        crop: Of an image: (top, left, height, width) in captured pixels; empty for all of it.
        resize: Of an image: (height, width) after the crop; empty for none.
        stack: Frames the policy sees at once, stacked when a batch is drawn and on the actor, never stored.
    """

    name: str
    crop: tuple[int, ...] = ()
    resize: tuple[int, ...] = ()
    stack: int = 1

    def stored(self, feature: Feature) -> Feature:
        """The feature as it is sent and stored. Raises ContractError where this view cannot be of it."""
        if self.stack < 1:
            raise ContractError(f"view.{self.name}.stack: expected at least 1, got {self.stack}")
        if not (self.crop or self.resize):
            return feature
        if not feature.is_image:
            key, value = ("crop", self.crop) if self.crop else ("resize", self.resize)
            raise ContractError(f"view.{self.name}.{key}: expected none, since it is no image, got {value}")
        height, width, channels = feature.shape
        if self.crop:
            top, left, *size = self.crop if len(self.crop) == 4 else (0, 0, 0, 0)
            if min(top, left) < 0 or min(size) < 1 or top + size[0] > height or left + size[1] > width:
                raise ContractError(
                    f"view.{self.name}.crop: expected top, left, height, width within the {height} x {width} image, "
                    f"got {self.crop}"
                )
            height, width = size
        if self.resize:
            if len(self.resize) != 2 or min(self.resize) < 1:
                raise ContractError(f"view.{self.name}.resize: expected height, width, got {self.resize}")
            height, width = self.resize
        return replace(feature, shape=(height, width, channels))


@dataclass(frozen=True)
class View:
    features: tuple[FeatureView, ...]

    def of(self, name: str) -> FeatureView:
        """The view of a feature; that of one not named here shows it as it is."""
        return next((f for f in self.features if f.name == name), FeatureView(name))

    def stack(self, name: str) -> int:
        return self.of(name).stack


@dataclass(frozen=True)
class Contract:
    """Raises ContractError where the view is not one of the interface."""

    interface: Interface
    view: View

    def __post_init__(self) -> None:
        for view in self.view.features:
            view.stored(self.interface.feature(view.name))

    @cached_property
    def stored(self) -> tuple[Feature, ...]:
        """The features of an observation as they are sent, logged and replayed: images after crop and resize."""
        return tuple(self.view.of(f.name).stored(f) for f in self.interface.observations)

    @property
    def interface_fingerprint(self) -> str:
        return _fingerprint(asdict(self.interface))

    @property
    def view_fingerprint(self) -> str:
        return _fingerprint(asdict(self.view))

    def to_message(self) -> pb.Contract:
        i = self.interface
        return pb.Contract(
            interface=pb.Interface(
                task=i.task,
                observations=[_feature_message(f) for f in i.observations],
                action=_feature_message(i.action),
                action_meaning=i.action_meaning,
                gripper_sign=i.gripper_sign,
                control_hz=i.control_hz,
                reward=pb.RewardBounds(**asdict(i.reward)),
            ),
            view=pb.View(
                features=[
                    pb.FeatureView(name=f.name, crop=f.crop, resize=f.resize, stack=f.stack) for f in self.view.features
                ]
            ),
        )

    @staticmethod
    def from_message(message: pb.Contract) -> Contract:
        """Raises ContractError where the message is no valid contract."""
        i = message.interface
        return Contract(
            interface=Interface(
                task=i.task,
                observations=tuple(_feature(f) for f in i.observations),
                action=_feature(i.action),
                action_meaning=i.action_meaning,
                gripper_sign=i.gripper_sign,
                control_hz=i.control_hz,
                reward=RewardBounds(i.reward.bounded, i.reward.low, i.reward.high, i.reward.only_at_end),
            ),
            view=View(
                tuple(FeatureView(f.name, tuple(f.crop), tuple(f.resize), f.stack) for f in message.view.features)
            ),
        )


def _fingerprint(tree: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def _feature_message(f: Feature) -> pb.Feature:
    return pb.Feature(
        name=f.name,
        dtype=f.dtype,
        shape=f.shape,
        components=f.components,
        units=f.units,
        low=f.low,
        high=f.high,
    )


def _feature(m: pb.Feature) -> Feature:
    return Feature(m.name, m.dtype, tuple(m.shape), tuple(m.components), tuple(m.units), tuple(m.low), tuple(m.high))
