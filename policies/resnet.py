"""Frozen ResNets (arXiv 1512.03385) up to their last feature map, with weights from a safetensors file.

``resnet18`` is that of torchvision and timm, with batch normalisation in its evaluation form. ``resnet10`` is that of
HIL-SERL, with group normalisation and the paddings of JAX, in the layout of ``helper2424/resnet10`` on the hub.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HEAD = ("fc.weight", "fc.bias")
"""The classification head of an ImageNet file, which is not used."""

_EPS = 1e-5
_GROUPS = 4
_BLOCKS = {"resnet10": 1, "resnet18": 2}


class EncoderFileError(ValueError):
    """A weights file that is not, completely and exactly, that of the encoder asked for."""


class FrozenResNet(nn.Module):
    """Normalised frames (B, 3, H, W) to feature maps (B, 512, ceil(H / 32), ceil(W / 32)), without gradient.

    Its weights are buffers outside the state dict: optimisers never see them, nothing can update them, and snapshots
    and checkpoints name them by the hash of their file. Copies share the weights, and move between devices together.

    Attributes:
        sha256: Of the file whose weights it must have.
        file: That file, or None until it was loaded.
    """

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(self, name: str, sha256: str) -> None:
        super().__init__()
        self.name, self.sha256 = name, sha256
        self.file: bytes | None = None
        same = name == "resnet10"
        self.conv1 = _Convolution(3, 64, 7, 2, same=False)
        self.bn1 = _norm(64, grouped=same)
        self.same = same
        channels = 64
        for stage, width in enumerate((64, 128, 256, 512), start=1):
            blocks: list[nn.Module] = []
            for _ in range(_BLOCKS[name]):
                blocks.append(_Block(channels, width, 2 if stage > 1 and not blocks else 1, same))
                channels = width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))

    def load(self, data: bytes) -> None:
        """Takes the weights of a file.

        Raises:
            EncoderFileError: with nothing changed, where the file has another hash, or any tensor is missing,
                unexpected, misshapen or not finite.
        """
        digest = hashlib.sha256(data).hexdigest()
        if digest != self.sha256:
            raise EncoderFileError(
                f"the weights of encoder {self.name!r} must have sha256 {self.sha256}. Got: {digest}"
            )
        tensors = read_weights(data, self.name)
        with torch.no_grad():
            for name, buffer in self.named_buffers():
                buffer.copy_(tensors[file_name(self.name, name)])
        self.file = data

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Raises EncoderFileError until the weights were loaded."""
        if self.file is None:
            raise EncoderFileError(f"the weights of encoder {self.name!r} (sha256 {self.sha256}) were not loaded")
        x = F.relu_(self.bn1(self.conv1(x)))
        # After ReLU, zeros at the edge change no maximum.
        x = F.max_pool2d(F.pad(x, _same(x, 3, 2)), 3, 2) if self.same else F.max_pool2d(x, 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def read_weights(data: bytes, name: str) -> dict[str, Tensor]:
    """The tensors of a weights file by the file's names, without its head and its counts of training batches.

    Raises:
        EncoderFileError: where it is no safetensors file, or a tensor is missing, unexpected, misshapen or not finite.
    """
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise EncoderFileError(f"the weights of encoder {name!r} must be a safetensors file: {error}") from error
    if name == "resnet10":
        # The published file was written from modules that wrap each convolution; an earlier one was not.
        tensors = {key.replace(".conv.weight", ".weight"): value for key, value in tensors.items()}
    tensors = {k: v for k, v in tensors.items() if k not in HEAD and not k.endswith(".num_batches_tracked")}
    expected = {file_name(name, key): tuple(value.shape) for key, value in _skeleton(name).named_buffers()}
    faults = [f"{key!r} is missing" for key in expected if key not in tensors]
    faults += [f"{key!r} is unexpected" for key in tensors if key not in expected]
    faults += [
        f"{key!r} must be float32 of shape {shape}. Got: {str(tensors[key].dtype).removeprefix('torch.')} "
        f"{tuple(tensors[key].shape)}"
        for key, shape in expected.items()
        if key in tensors and (tuple(tensors[key].shape), tensors[key].dtype) != (shape, torch.float32)
    ]
    if not faults:
        faults = [f"{key!r} is not finite" for key, value in tensors.items() if not value.isfinite().all()]
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise EncoderFileError(f"the weights are not those of encoder {name!r}: {'; '.join(faults[:3])}{more}")
    return tensors


def file_name(encoder: str, name: str) -> str:
    """The name that a tensor of ours has in the encoder's published file."""
    if encoder != "resnet10":
        return name
    if stem := re.fullmatch(r"(conv|bn)1\.(.*)", name):
        return f"embedder.{int(stem[1] == 'bn')}.{stem[2]}"
    stage, rest = re.fullmatch(r"layer(\d)\.0\.(.*)", name).groups()  # type: ignore[union-attr]
    return f"encoder.stages.{int(stage) - 1}." + rest.replace("bn", "norm").replace("downsample", "shortcut")


def _skeleton(name: str) -> FrozenResNet:
    with torch.device("meta"):
        return FrozenResNet(name, "")


class _Convolution(nn.Module):
    weight: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, *, same: bool) -> None:
        super().__init__()
        self.kernel, self.stride, self.same = kernel, stride, same
        self.register_buffer("weight", torch.zeros(outputs, inputs, kernel, kernel), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            return F.conv2d(F.pad(x, _same(x, self.kernel, self.stride)), self.weight, stride=self.stride)
        return F.conv2d(x, self.weight, stride=self.stride, padding=self.kernel // 2)


class _BatchNorm(nn.Module):
    """Batch normalisation by the statistics of its file, which never move."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.zeros(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=_EPS)


class _GroupNorm(nn.Module):
    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias"):
            self.register_buffer(name, torch.zeros(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, _GROUPS, self.weight, self.bias, eps=_EPS)


def _norm(channels: int, *, grouped: bool) -> nn.Module:
    return _GroupNorm(channels) if grouped else _BatchNorm(channels)


class _Block(nn.Module):
    """relu(norm(conv(relu(norm(conv(x))))) + x), with a projection of x where its size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, same: bool) -> None:
        super().__init__()
        self.conv1 = _Convolution(inputs, outputs, 3, stride, same=same)
        self.bn1 = _norm(outputs, grouped=same)
        self.conv2 = _Convolution(outputs, outputs, 3, 1, same=same)
        self.bn2 = _norm(outputs, grouped=same)
        self.downsample: nn.Module | None = None
        if inputs != outputs:
            projection = _Convolution(inputs, outputs, 1, stride, same=same)
            self.downsample = nn.Sequential(projection, _norm(outputs, grouped=same))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu_(self.bn1(self.conv1(x)))))
        return F.relu_(y.add_(x if self.downsample is None else self.downsample(x)))


def _same(x: Tensor, kernel: int, stride: int) -> tuple[int, int, int, int]:
    """Zeros (left, right, top, bottom) that give ceil(size / stride), the odd one last, as JAX does."""
    height, width = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:])
    return width // 2, width - width // 2, height // 2, height - height // 2
