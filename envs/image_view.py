"""Camera images as they are sent, stored and shown to a policy: cropped and resized here and nowhere else.

What a camera gives may differ from what it gave before: a cable comes loose, a driver falls back to another size. Such
a frame is left out and ``info["lost_camera"]`` names it, so that whoever drives the robot can hold and go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from episodes.contract import IMAGE_PREFIX, Feature, FeatureView

LOST_CAMERA = "lost_camera"
"""Key of ``info``: which image is absent or not as captured before, what was expected and what came."""


def has_images(space: spaces.Space) -> bool:
    """Whether an observation space of named features has an image."""
    return isinstance(space, spaces.Dict) and any(name.startswith(IMAGE_PREFIX) for name in space.spaces)


def render_view(frame: np.ndarray, crop: tuple[int, ...], resize: tuple[int, ...]) -> np.ndarray:
    """A captured frame as its view shows it, uint8, shape (height, width, 3).

    Args:
        frame: uint8, shape (H, W, 3), RGB.
        crop: (top, left, height, width) within it; empty for all of it.
        resize: (height, width) after the crop, by area averaging (cv2.INTER_AREA); empty for none.
    """
    if crop:
        top, left, height, width = crop
        frame = frame[top : top + height, left : left + width]
    if resize and frame.shape[:2] != resize:
        import cv2

        frame = cv2.resize(frame, resize[::-1], interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(frame)


class ImageView(gym.Wrapper, RecordConstructorArgs):
    """Shows every image of an environment of named features (see ``envs.registry.make_env``) cropped and resized.

    Args:
        env: Its observation space is a Dict; images are uint8 of shape (height, width, 3).
        crop: (top, left, height, width) in captured pixels; empty for all of it.
        resize: (height, width) after the crop; empty for none.

    Raises ContractError naming the image where the crop is not within it or the size is none.
    """

    def __init__(self, env: gym.Env, crop: tuple[int, ...] = (), resize: tuple[int, ...] = ()) -> None:
        RecordConstructorArgs.__init__(self, crop=crop, resize=resize)
        super().__init__(env)
        self._crop, self._resize = tuple(crop), tuple(resize)
        self._captured: dict[str, tuple[int, ...]] = {}
        shown: list[tuple[str, spaces.Space]] = []  # pairs, because gymnasium sorts the keys of a mapping
        assert isinstance(env.observation_space, spaces.Dict), env.observation_space
        for name, space in env.observation_space.spaces.items():
            if name.startswith(IMAGE_PREFIX) and space.shape is not None:
                self._captured[name] = space.shape
                stored = FeatureView(name, self._crop, self._resize).stored(Feature(name, "uint8", space.shape))
                space = space if stored.shape == space.shape else spaces.Box(0, 255, stored.shape, np.uint8)
            shown.append((name, space))
        self.observation_space = spaces.Dict(shown)

    def reset(self, **settings: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        observation, info = self.env.reset(**settings)
        return self._shown(observation, info)

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation, info = self._shown(observation, info)
        return observation, reward, terminated, truncated, info

    def _shown(
        self, observation: Mapping[str, Any], info: dict[str, Any]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        shown = dict(observation)
        for name, shape in self._captured.items():
            frame = shown.get(name)
            if isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.shape == shape:
                shown[name] = render_view(frame, self._crop, self._resize)
                continue
            shown.pop(name, None)
            got = f"{frame.dtype} of shape {frame.shape}" if isinstance(frame, np.ndarray) else "no frame"
            info = {**info, LOST_CAMERA: f"{name}: expected uint8 of shape {shape} from the camera, got {got}"}
        return shown, info
