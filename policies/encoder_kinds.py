"""The registered image encoders: their layers, and the sizes that follow from them. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

SPATIAL_FEATURES = 8
"""Learned spatial weightings of each channel of a feature map (HIL-SERL, arXiv 2410.21845)."""


@dataclass(frozen=True)
class EncoderKind:
    """One image encoder.

    Attributes:
        layers: (kernel, stride, padding) [px] of every layer that changes the size of the map, in order.
        channels: Of the last feature map.
        default_size: Features of all cameras together, or of each camera where ``per_camera``; 0 where the encoder
            gives the flattened map, so that its size cannot be chosen.
        per_camera: Each camera has features of its own, an equal share of ``encoder_size``.
        multiple: That share is a multiple of so many.
        least_map: Height and width [px] that the last feature map must have.
        pretrained: Its convolutions come from a file and are never trained.
    """

    layers: tuple[tuple[int, int, int], ...]
    channels: int
    default_size: int
    per_camera: bool = False
    multiple: int = 1
    least_map: int = 1
    pretrained: bool = False

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the last feature map of an image of this size [px]; below ``least_map`` where
        that is too small."""
        for kernel, stride, padding in self.layers:
            height = (height + 2 * padding - kernel) // stride + 1
            width = (width + 2 * padding - kernel) // stride + 1
        return height, width

    def feature_size(self, heights: Sequence[int], widths: Sequence[int]) -> int:
        """Features that the encoder gives for these images unless told otherwise."""
        if self.default_size:
            return self.default_size * (len(heights) if self.per_camera else 1)
        sizes = dict.fromkeys(zip(heights, widths, strict=True))
        return self.channels * sum(prod(self.map_size(*size)) for size in sizes)


_RESNET = ((7, 2, 3), *4 * ((3, 2, 1),))

ENCODERS: dict[str, EncoderKind] = {
    "small": EncoderKind(((4, 4, 0), (3, 2, 1), (3, 2, 1)), 32, 64),
    "keypoints": EncoderKind(((4, 4, 0), (3, 2, 1)), 32, 64, per_camera=True, multiple=2, least_map=4),
    "lerobot": EncoderKind(((7, 2, 0), (5, 2, 0), (3, 2, 0), (3, 2, 0)), 32, 256, per_camera=True),
    "drqv2": EncoderKind(((3, 2, 0), *3 * ((3, 1, 0),)), 32, 0),
    "resnet10": EncoderKind(_RESNET, 512, 256, per_camera=True, pretrained=True),
    "resnet18": EncoderKind(_RESNET, 512, 256, per_camera=True, pretrained=True),
}
