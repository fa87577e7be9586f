"""Labelled frames as another day could have shown them: the camera moved, the light and the colours others.

It acts on stored uint8 frames, before the one preprocessing that training shares with running.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

_SHIFT = 0.06
_TURN_DEG = 4.0
_SCALE = 0.06
_BRIGHTNESS, _CONTRAST, _TINT = 0.35, 0.3, 0.1
_LUMA = np.array((0.299, 0.587, 0.114))


def augmented(frames: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Frames uint8 (N, H, W, 3) by camera, each moved on its own; light and colour are drawn once for all cameras of a
    moment, because they share them."""
    count = len(next(iter(frames.values())))
    matrices, offsets = zip(*(_colours(rng) for _ in range(count)), strict=True)
    return {
        name: np.stack([_coloured(_moved(v, rng), m, o) for v, m, o in zip(value, matrices, offsets, strict=True)])
        for name, value in frames.items()
    }


def _moved(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turned, scaled and shifted a little; edges repeat."""
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D(
        (width / 2, height / 2), rng.uniform(-_TURN_DEG, _TURN_DEG), rng.uniform(1 - _SCALE, 1 + _SCALE)
    )
    shift = rng.uniform(-_SHIFT, _SHIFT, 2) * (width, height)
    matrix = matrix + np.column_stack((np.zeros((2, 2)), shift))
    return cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _colours(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """A colour matrix, (3, 3), and an offset: hue turned, saturation, tint, brightness and contrast changed."""
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.7 else 0.0
    cos, third = np.cos(angle), 1 / 3
    across = np.sin(angle) / np.sqrt(3)
    turn = np.array(((0, -1, 1), (1, 0, -1), (-1, 1, 0)))
    hue = third * (1 - cos) * np.ones((3, 3)) + cos * np.eye(3) + across * turn
    saturation = rng.uniform(0.5, 1.3)
    grey = np.ones((3, 1)) * _LUMA
    matrix = (saturation * np.eye(3) + (1 - saturation) * grey) @ hue
    matrix = matrix * rng.uniform(1 - _TINT, 1 + _TINT, (3, 1))
    contrast = rng.uniform(1 - _CONTRAST, 1 + _CONTRAST) * rng.uniform(1 - _BRIGHTNESS, 1 + _BRIGHTNESS)
    return contrast * matrix, float(rng.uniform(-25, 25))


def _coloured(frame: np.ndarray, matrix: np.ndarray, offset: float) -> np.ndarray:
    return cv2.transform(frame, np.column_stack((matrix, np.full(3, offset))))  # rounds, and saturates at 0 and 255
