"""From stored frames to what the classifier's network sees: one function, in training and when running.

The crop and resize of the contract happened before a frame was stored (``episodes.contract.Contract.stored``); what is
left is the network's own size and its normalisation. Both are stored with the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from episodes.contract import IMAGE_PREFIX, Contract
from reward.config import RewardError

MEAN, STD = 0.5, 0.25


class FrameError(RewardError):
    """Frames that are not those the classifier was trained with."""


@dataclass(frozen=True)
class CameraFrames:
    """The frames of one camera as they are stored.

    Attributes:
        name: Feature name, ``observation.images.<camera>``.
        height, width: Of a stored frame, in pixels.
        crop: What was kept of the captured frame before (top, left, height, width); empty for all of it.
        resize: Height and width to which it was brought then; empty for none.
    """

    name: str
    height: int
    width: int
    crop: tuple[int, ...] = ()
    resize: tuple[int, ...] = ()


def cameras_of(contract: Contract) -> tuple[CameraFrames, ...]:
    """Every camera of a contract, in its order. Raises FrameError where it has none."""
    views = contract.view
    found = tuple(
        CameraFrames(f.name, f.shape[0], f.shape[1], tuple(views.of(f.name).crop), tuple(views.of(f.name).resize))
        for f in contract.stored
        if f.is_image
    )
    if not found:
        raise FrameError(
            f"{contract.interface.task} has no camera, and a classifier looks at images. Set env.obs=pixels, or "
            "reward=env or reward=human"
        )
    return found


@dataclass(frozen=True)
class Preprocessing:
    """Checks stored frames, brings them to the network's size and scales them.

    Attributes:
        cameras: In the order of the network's inputs.
        size: Height and width of what the network sees of every camera; smaller frames are enlarged.
    """

    cameras: tuple[CameraFrames, ...]
    size: tuple[int, int]

    def __call__(self, frames: Mapping[str, np.ndarray]) -> list[Tensor]:
        """Float32 (N, 3, *size) of each camera, channels last in memory, from uint8 (N, height, width, 3) by name.

        Raises FrameError for a camera that is missing, of another size or of another dtype.
        """
        return [self._prepared(camera, frames) for camera in self.cameras]

    def _prepared(self, camera: CameraFrames, frames: Mapping[str, np.ndarray]) -> Tensor:
        value = frames.get(camera.name)
        expected = f"uint8 of {camera.height} x {camera.width} pixels, as in training"
        if value is None:
            raise FrameError(f"the classifier needs {camera.name!r}: {expected}. There are: {sorted(frames)}")
        if value.dtype != np.uint8 or value.ndim != 4 or value.shape[1:] != (camera.height, camera.width, 3):
            raise FrameError(f"{camera.name!r} must be {expected}. Got: {value.dtype} of shape {value.shape[1:]}")
        if value.shape[1:3] != self.size:
            value = np.stack([cv2.resize(v, self.size[::-1], interpolation=cv2.INTER_AREA) for v in value])
        pixels = torch.from_numpy(np.ascontiguousarray(value)).permute(0, 3, 1, 2)
        return pixels.to(torch.float32).mul_(1 / 255).sub_(MEAN).mul_(1 / STD)

    def check(self, contract: Contract) -> None:
        """Raises FrameError, naming each key, where the cameras of a contract are not those of the training data."""
        has = {camera.name: camera for camera in cameras_of(contract)}
        found = []
        for camera in self.cameras:
            other = has.get(camera.name)
            if other is None:
                found.append(f"  {camera.name}: expected this camera, got {', '.join(has)}")
                continue
            found += [
                f"  {camera.name}.{key}: expected {getattr(camera, key)}, got {getattr(other, key)}"
                for key in ("height", "width", "crop", "resize")
                if getattr(camera, key) != getattr(other, key)
            ]
        if found:
            raise FrameError(
                "the classifier was trained on other images than this environment gives:\n" + "\n".join(found) + "\n"
                "Set env.cameras, sizes, crop and resize as in its data, or train one on data of this environment"
            )


def stacked(observation: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The images of one observation as a batch of one: (1, height, width, 3) by name."""
    return {name: value[None] for name, value in observation.items() if name.startswith(IMAGE_PREFIX)}


def chosen_cameras(cameras: Sequence[CameraFrames], names: Sequence[str]) -> tuple[CameraFrames, ...]:
    """The cameras of these names, with or without the prefix; all of them where none is named.

    Raises RewardError for one that is not there.
    """
    if not names:
        return tuple(cameras)
    by_name = {camera.name: camera for camera in cameras}
    full = [name if name.startswith(IMAGE_PREFIX) else IMAGE_PREFIX + name for name in names]
    if missing := [name for name in full if name not in by_name]:
        raise RewardError(f"cameras names {missing[0]!r}, which the data lack. They have: {', '.join(by_name)}")
    return tuple(by_name[name] for name in full)
