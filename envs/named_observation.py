"""Any Box, Dict or Tuple observation as a Dict of LeRobot's feature names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from envs.errors import EnvError
from episodes.contract import IMAGE_PREFIX, Feature

SUPPORTED = "Supported: Box, and Dict and Tuple of them, nested"


class NamedObservation(gym.ObservationWrapper, RecordConstructorArgs):
    """Names and flattens observations.

    A Box becomes ``observation.state``, float32 of shape (size,); a uint8 Box of shape (height, width, 3) becomes
    ``observation.images.pixels``. Parts of a Dict or Tuple become ``observation.KEY.PATH`` or
    ``observation.images.KEY.PATH``. Empty parts are left out. Every observation is a copy.

    Attributes:
        features: The contract's features, sorted by name, which is the order of the Dict.
    """

    def __init__(self, env: gym.Env) -> None:
        """Raises EnvError naming the part that is no Box."""
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self._paths: dict[str, tuple[Any, ...]] = {}
        boxes: dict[str, spaces.Box] = {}
        for path, box in _leaves(env.observation_space, ()):
            name = _name(path, box)
            if name in boxes:
                raise EnvError(f"two parts of the observation have the name {name!r}: {self._paths[name]} and {path}")
            boxes[name], self._paths[name] = box, path
        if not boxes:
            raise EnvError(f"the observation space must not be empty. Got: {env.observation_space}")
        self.features = tuple(_feature(name, boxes[name]) for name in sorted(boxes))
        self.observation_space = spaces.Dict({f.name: _space(f, boxes[f.name]) for f in self.features})

    def observation(self, observation: Any) -> dict[str, np.ndarray]:
        named = {}
        for feature in self.features:
            part = observation
            for key in self._paths[feature.name]:
                part = part[key]
            with np.errstate(over="ignore", invalid="ignore"):
                named[feature.name] = np.array(part, feature.dtype).reshape(feature.shape)
        return named


def _leaves(space: spaces.Space, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], spaces.Box]]:
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _leaves(part, (*path, key))
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from _leaves(part, (*path, index))
    elif isinstance(space, spaces.Box):
        if np.prod(space.shape) > 0:
            yield path, space
    else:
        where = f" at {'.'.join(map(str, path))!r}" if path else ""
        raise EnvError(f"the observation space has a part{where} that cannot be used: {space}. {SUPPORTED}")


def _is_image(box: spaces.Box) -> bool:
    return box.dtype == np.uint8 and len(box.shape) == 3 and box.shape[2] == 3


def _name(path: tuple[Any, ...], box: spaces.Box) -> str:
    key = ".".join(map(str, path))
    if _is_image(box):
        for prefix in (IMAGE_PREFIX, "observation.", "images.", "pixels."):
            key = key.removeprefix(prefix)
        return IMAGE_PREFIX + (key or "pixels")
    key = key.removeprefix("observation.")
    if key.startswith("images."):
        raise EnvError(
            f"the observation's part {key!r} must be an image: uint8 of shape (height, width, 3). "
            f"Got: {box.dtype} of shape {box.shape}"
        )
    return f"observation.{key or 'state'}"


def _feature(name: str, box: spaces.Box) -> Feature:
    if _is_image(box):
        return Feature(name, "uint8", tuple(box.shape))
    size = int(np.prod(box.shape))
    short = name.removeprefix("observation.")
    return Feature(
        name,
        "float32",
        (size,),
        components=tuple(f"{short}_{i}" for i in range(size)),
        low=_bounds(box.low),
        high=_bounds(box.high),
    )


def _space(feature: Feature, box: spaces.Box) -> spaces.Box:
    if feature.is_image:
        return spaces.Box(box.low, box.high, box.shape, np.uint8)
    low, high = _float32(box.low), _float32(box.high)
    return spaces.Box(low, high, feature.shape, np.float32)


def _bounds(values: np.ndarray) -> tuple[float, ...]:
    flat = _float32(values)
    return (float(flat[0]),) if (flat == flat[0]).all() else tuple(map(float, flat))


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32).ravel()
