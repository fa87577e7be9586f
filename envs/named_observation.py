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

    A Box becomes ``observation.state``, float32 of shape (size,); an image becomes ``observation.images.pixels``. Parts
    of a Dict or Tuple become ``observation.KEY.PATH`` or ``observation.images.KEY.PATH``. Empty parts are left out.
    Every observation is a copy.

    An image is a Box of uint8 of shape (height, width, 3); or grey, from 0 to 255, of shape (height, width, 1) or
    (height, width), whose one channel is repeated three times. One that does not come so in an observation is handed
    on as it is, or left out where it is absent: ``envs.image_view`` says so.

    Attributes:
        features: The contract's features, sorted by name, which is the order of the Dict.
    """

    def __init__(self, env: gym.Env) -> None:
        """Raises EnvError naming the part that is no Box, or an image of a shape that cannot be used."""
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
        self._images = {f.name: boxes[f.name].shape for f in self.features if f.is_image}
        self.observation_space = spaces.Dict({f.name: _space(f, boxes[f.name]) for f in self.features})

    def observation(self, observation: Any) -> dict[str, np.ndarray]:
        named = {}
        for feature in self.features:
            if feature.is_image:
                if (frame := self._frame(observation, feature)) is not None:
                    named[feature.name] = frame
                continue
            part = observation
            for key in self._paths[feature.name]:
                part = part[key]
            with np.errstate(over="ignore", invalid="ignore"):
                named[feature.name] = np.array(part, feature.dtype).reshape(feature.shape)
        return named

    def _frame(self, observation: Any, feature: Feature) -> np.ndarray | None:
        part = observation
        for key in self._paths[feature.name]:
            try:
                part = part[key]
            except (KeyError, IndexError, TypeError):
                return None
        if part is None:
            return None
        frame = np.array(part)
        if frame.dtype != np.uint8 or frame.shape != self._images[feature.name]:
            return frame
        return frame if frame.shape == feature.shape else np.repeat(frame.reshape(*frame.shape[:2], 1), 3, axis=2)


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
    if box.dtype != np.uint8:
        return False
    return box.shape[2:] == (3,) or (_is_picture(box) and box.shape[2:] in ((), (1,)))


def _is_picture(box: spaces.Box) -> bool:
    """Whether numbers are shades, not for example pieces on a board."""
    return box.dtype == np.uint8 and len(box.shape) in (2, 3) and not box.low.any() and bool((box.high == 255).all())


def _name(path: tuple[Any, ...], box: spaces.Box) -> str:
    key = ".".join(map(str, path))
    if _is_image(box):
        for prefix in (IMAGE_PREFIX, "observation.", "images.", "pixels."):
            key = key.removeprefix(prefix)
        return IMAGE_PREFIX + (key or "pixels")
    key = key.removeprefix("observation.")
    if key.startswith("images.") or _is_picture(box):
        raise EnvError(
            f"the observation{f' part {key!r}' if key else ''} must be an image: uint8 of shape (height, width, 3), "
            f"(height, width, 1) or (height, width). Got: {box.dtype} of shape {box.shape}. Leave out wrappers that "
            "stack frames (env.image_stack does that) or put channels first"
        )
    return f"observation.{key or 'state'}"


def _feature(name: str, box: spaces.Box) -> Feature:
    if _is_image(box):
        return Feature(name, "uint8", (*box.shape[:2], 3))
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
        return spaces.Box(0, 255, feature.shape, np.uint8)
    low, high = _float32(box.low), _float32(box.high)
    return spaces.Box(low, high, feature.shape, np.float32)


def _bounds(values: np.ndarray) -> tuple[float, ...]:
    flat = _float32(values)
    return (float(flat[0]),) if (flat == flat[0]).all() else tuple(map(float, flat))


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32).ravel()
