"""The success classifier's network: an encoder for each camera, a trained projection of each, and one logit.

Norm layers work within one image, so that a single frame gets the same logit as in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.resnet import IMAGENET_MEAN, IMAGENET_STD, FrozenResNet
from reward.config import RewardError
from reward.preprocessing import MEAN, STD

ENCODERS = ("small", "resnet10", "resnet18")
_LAYERS = ((32, 7, 4), (48, 3, 2), (64, 3, 2))
"""Channels, kernel and stride of each convolution. A first stride of 4 is what makes training quick on a CPU."""
_GRID = 4
_RESNET_CHANNELS = 512


@dataclass(frozen=True)
class NetworkSpec:
    """What the network is.

    Attributes:
        cameras: How many.
        encoder: ``small``, trained from scratch, or a frozen pretrained ``resnet10`` or ``resnet18``.
        encoder_sha256: Of the frozen encoder's weights file; empty for ``small``.
        projection: Features of each camera.
        hidden: Of the head.
        dropout: Share of the features dropped in training.
    """

    cameras: int
    encoder: str = "small"
    encoder_sha256: str = ""
    projection: int = 64
    hidden: int = 64
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise RewardError(f"encoder must be one of {', '.join(ENCODERS)}. Got: {self.encoder!r}")


class ClassifierNetwork(nn.Module):
    """Images (N, 3, H, W) of each camera to logits (N,).

    Attributes:
        trunk: The frozen pretrained encoder, shared by all cameras; None where encoders are trained from scratch. Its
            weights are neither parameters nor in the state dict.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        small = spec.encoder == "small"
        self.trunk = None if small else FrozenResNet(spec.encoder, spec.encoder_sha256)
        channels = _LAYERS[-1][0] if small else _RESNET_CHANNELS
        self.encoders = nn.ModuleList(_small_encoder() for _ in range(spec.cameras if small else 0))
        self.projections = nn.ModuleList(_projection(channels, spec) for _ in range(spec.cameras))
        self.head = nn.Sequential(
            nn.Linear(spec.cameras * spec.projection, spec.hidden), nn.ReLU(), nn.Linear(spec.hidden, 1)
        )
        # From the scale of reward.preprocessing to that of ImageNet's networks.
        self.register_buffer("mean", (torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) - MEAN) / STD, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) / STD, persistent=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        maps = [self._maps(camera, image) for camera, image in enumerate(images)]
        features = [project(m) for project, m in zip(self.projections, maps, strict=True)]
        return self.head(torch.cat(features, -1)).squeeze(-1)

    def _maps(self, camera: int, image: Tensor) -> Tensor:
        if self.trunk is None:
            return self.encoders[camera](image)
        return self.trunk((image - self.mean) / self.std)


def _small_encoder() -> nn.Sequential:
    """Convolutions, each with group normalisation and ReLU."""
    layers: list[nn.Module] = []
    channels = 3
    for width, kernel, stride in _LAYERS:
        layers += [
            nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False),
            nn.GroupNorm(width // 8, width),
            nn.ReLU(inplace=True),
        ]
        channels = width
    return nn.Sequential(*layers)


def _projection(channels: int, spec: NetworkSpec) -> nn.Sequential:
    """Feature maps of any size to ``projection`` numbers; averaged on a grid, which keeps where something is."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(_GRID),
        nn.Flatten(),
        nn.Dropout(spec.dropout),
        nn.Linear(channels * _GRID * _GRID, spec.projection),
        nn.LayerNorm(spec.projection),
        nn.Tanh(),
    )
