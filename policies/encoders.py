"""Image encoders. The only place where pixels become numbers: uint8 to x / 255 - 0.5, channels last in memory."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.encoder_kinds import SPATIAL_FEATURES, EncoderKind
from policies.layers import init_orthogonal
from policies.resnet import IMAGENET_MEAN, IMAGENET_STD, FrozenResNet
from policies.spec import PolicySpec, encoder_kind


class ImageError(ValueError):
    """An image that is not what the policy's spec says."""


def build_encoder(spec: PolicySpec) -> Encoder:
    """The encoder of a spec with images, newly initialised, its weights channels last in memory."""
    classes: dict[str, type[Encoder]] = {
        "small": SmallEncoder,
        "keypoints": KeypointEncoder,
        "lerobot": LeRobotEncoder,
        "drqv2": DrQv2Encoder,
    }
    encoder = classes.get(spec.encoder, PretrainedEncoder)(spec)
    return encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Encoder(nn.Module, ABC):
    """Images (B, H, W, 3 * stack) uint8 by name to features (B, encoder_size) float32."""

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__()
        self.kind: EncoderKind = encoder_kind(spec.encoder)
        self.shapes = spec.image_shapes
        self.size = spec.encoder_size

    @abstractmethod
    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        """Raises ImageError for an image of another dtype or size; other entries of ``images`` are ignored."""

    def _pixels(self, images: Mapping[str, Tensor], names: Sequence[str], dim: int) -> Tensor:
        """The named images, joined along channels (``dim`` -1) or the batch (0), as (B, C, H, W) in [-0.5, 0.5]."""
        for name in names:
            value, shape = images[name], self.shapes[name]
            if value.dtype != torch.uint8 or value.shape[1:] != shape:
                raise ImageError(
                    f"image {name!r} must be uint8 of shape (B, {', '.join(map(str, shape))}), with pixels from 0 to "
                    f"255. Got: {value.dtype} {tuple(value.shape)}"
                )
        parts = [images[name] for name in names]
        if torch.compiler.is_compiling() or not parts[0].is_cpu:
            return torch.cat(parts, dim).permute(0, 3, 1, 2).mul(1 / 255).sub_(0.5)
        # On a CPU a copy of rows of three bytes costs as much as a convolution: scaled and joined in one pass.
        counts, size = [part.shape[dim] for part in parts], list(parts[0].shape)
        size[dim] = sum(counts)
        joined = torch.empty(size)
        for part, place in zip(parts, joined.split(counts, dim), strict=True):
            torch.mul(part, 1 / 255, out=place)
        return joined.sub_(0.5).permute(0, 3, 1, 2)

    def _groups(self, key: Callable[[tuple[int, int, int]], tuple[int, ...]]) -> list[list[str]]:
        """Names of the images, in groups of equal ``key`` of their shapes."""
        groups: dict[tuple[int, ...], list[str]] = {}
        for name, shape in self.shapes.items():
            groups.setdefault(key(shape), []).append(name)
        return list(groups.values())

    def _convolutions(self, channels: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for kernel, stride, padding in self.kind.layers:
            layers += [nn.Conv2d(channels, self.kind.channels, kernel, stride, padding), nn.ReLU(inplace=True)]
            channels = self.kind.channels
        return nn.Sequential(*layers)


class FlatEncoder(Encoder):
    """Convolutions with ReLU, flattened in (H, W, C) order, which in memory is free.

    Images of one size are joined as channels, so that a second camera costs little; those of another size have
    convolutions of their own.
    """

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        self.groups = self._groups(lambda shape: shape[:2])
        channels = [sum(self.shapes[name][2] for name in names) for names in self.groups]
        self.stacks = nn.ModuleList(self._convolutions(count) for count in channels)
        areas = [math.prod(self.kind.map_size(*self.shapes[names[0]][:2])) for names in self.groups]
        self.flat_size = self.kind.channels * sum(areas)

    def flat(self, images: Mapping[str, Tensor]) -> Tensor:
        """The flattened maps, (B, flat_size)."""
        maps = [stack(self._pixels(images, n, -1)) for stack, n in zip(self.stacks, self.groups, strict=True)]
        flat = [m.permute(0, 2, 3, 1).flatten(1) for m in maps]
        return flat[0] if len(flat) == 1 else torch.cat(flat, -1)


class SmallEncoder(FlatEncoder):
    """A 4x4 convolution of stride 4 and two 3x3 of stride 2, 32 channels each; then Linear, LayerNorm and tanh."""

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        self.linear = nn.Linear(self.flat_size, self.size)
        self.norm = nn.LayerNorm(self.size)

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        return self.norm(self.linear(self.flat(images))).tanh()


class KeypointEncoder(Encoder):
    """Where in the image things are: convolutions for each camera, and the spatial soft argmax of each channel of their
    maps (arXiv 1504.00702, section 5.1).

    A 4x4 convolution of stride 4 and a 3x3 of stride 2, 32 channels each, then a 3x3 with a channel for each keypoint.
    Each of its maps is normalised over the image, so that keypoints differ from the first update on, and scaled by a
    learned sharpness. A feature is the x or y of a keypoint, from -3 to 3 across the image.
    """

    SHARPNESS, EDGE = 3.0, 3.0

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        keypoints = self.size // len(self.shapes) // 2
        self.stacks = nn.ModuleList(self._maps(shape[2], keypoints) for shape in self.shapes.values())
        self.sharpness = nn.Parameter(torch.full((len(self.shapes), keypoints, 1), self.SHARPNESS))
        for camera, (height, width, _) in enumerate(self.shapes.values()):
            rows, columns = (torch.linspace(-self.EDGE, self.EDGE, n) for n in self.kind.map_size(height, width))
            grid = torch.cartesian_prod(rows, columns).view(-1, 2)
            self.register_buffer(f"grid_{camera}", grid, persistent=False)

    def _maps(self, channels: int, keypoints: int) -> nn.Sequential:
        return self._convolutions(channels).append(nn.Conv2d(self.kind.channels, keypoints, 3, 1, 1))

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        places = []
        for camera, (name, stack) in enumerate(zip(self.shapes, self.stacks, strict=True)):
            maps = stack(self._pixels(images, (name,), -1)).permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
            maps = functional.layer_norm(maps.contiguous(), maps.shape[-1:]) * self.sharpness[camera]
            places.append((maps.softmax(-1) @ self.get_buffer(f"grid_{camera}")).flatten(1))
        return torch.cat(places, -1)


class DrQv2Encoder(FlatEncoder):
    """The encoder of DrQ-v2 (arXiv 2107.09645): four 3x3 convolutions of 32 channels, the first of stride 2.

    Its linear layer is not here: actor and critic have one each.
    """

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        init_orthogonal(self)

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        return self.flat(images)


class SpatialEmbedding(nn.Module):
    """Learned weightings over the positions of each channel, then Linear, LayerNorm and tanh, as in HIL-SERL.

    The authors' code drops out a tenth of the weighted sums in training. That is left out: its random numbers would
    be the only ones of an update that no checkpoint keeps.
    """

    def __init__(self, channels: int, height: int, width: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, height * width, SPATIAL_FEATURES))
        with torch.no_grad():
            self.weight.mul_((channels * height * width) ** -0.5)
        self.linear = nn.Linear(channels * SPATIAL_FEATURES, size)
        self.norm = nn.LayerNorm(size)

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps (B, C, H, W) to features (B, size)."""
        sums = torch.bmm(maps.flatten(2).transpose(0, 1), self.weight)
        return self.norm(self.linear(sums.transpose(0, 1).flatten(1))).tanh()


class LeRobotEncoder(Encoder):
    """The small encoder of LeRobot's SAC, for comparisons: 7x7, 5x5, 3x3 and 3x3 convolutions of stride 2 and 32
    channels, each with ReLU, shared by all cameras; a spatial embedding for each."""

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        height, width, channels = next(iter(self.shapes.values()))
        self.convolutions = self._convolutions(channels)
        area = self.kind.map_size(height, width)
        self.embeddings = nn.ModuleList(
            SpatialEmbedding(self.kind.channels, *area, self.size // len(self.shapes)) for _ in self.shapes
        )

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        maps = self.convolutions(self._pixels(images, tuple(self.shapes), 0)).chunk(len(self.shapes))
        return torch.cat([embed(m) for embed, m in zip(self.embeddings, maps, strict=True)], -1)


class PretrainedEncoder(Encoder):
    """A frozen pretrained ResNet shared by all cameras, and a spatial embedding for each, which alone are trained.

    ``forward`` is ``embed(maps(images))``.

    Attributes:
        trunk: The frozen part. Its weights are neither parameters nor in the state dict.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        self.groups = self._groups(lambda shape: shape)
        self.trunk = FrozenResNet(spec.encoder, spec.encoder_sha256)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) - 0.5, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.embeddings = nn.ModuleList(
            SpatialEmbedding(c // 3 * self.kind.channels, *self.kind.map_size(h, w), self.size // len(self.shapes))
            for h, w, c in self.shapes.values()
        )

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        return self.embed(self.maps(images))

    @torch.no_grad()
    def maps(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Frozen feature maps (B, stack * 512, H / 32, W / 32) of each image; no gradient flows through them."""
        maps: dict[str, Tensor] = {}
        for names in self.groups:
            pixels = self._pixels(images, names, 0)
            stack = pixels.shape[1] // 3
            frames = pixels if stack == 1 else pixels.unflatten(1, (stack, 3)).flatten(0, 1)
            found = self.trunk((frames - self.mean) / self.std)
            found = found if stack == 1 else found.unflatten(0, (-1, stack)).flatten(1, 2)
            maps.update(zip(names, found.chunk(len(names)), strict=True))
        return maps

    def embed(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Feature maps by image to features (B, encoder_size)."""
        parts = [embed(maps[name]) for name, embed in zip(self.shapes, self.embeddings, strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)
