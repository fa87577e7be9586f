"""Reward classifiers of LeRobot: a folder with config.json and safetensors, run with its own preprocessing and size.

The layers and their names are facts of LeRobot 0.6.1 (``lerobot.rewards.classifier``); neither it nor transformers is
imported. A frozen ResNet-10, a spatial embedding, a projection for each camera, and a head.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from episodes.contract import IMAGE_PREFIX, Contract
from policies.resnet import EncoderFileError, FrozenResNet, file_name
from policies.snapshot import check_finite, name_differences
from reward.classifier import Calibration
from reward.config import RewardError
from reward.preprocessing import FrameError
from reward.storage import sha256_of

CONFIG, WEIGHTS = "config.json", "model.safetensors"
RESNET10 = ("lerobot/resnet10", "helper2424/resnet10")
_CHANNELS, _MAP = 512, 4
_EPS = 1e-8


def load_pretrained(reference: str) -> LeRobotClassifier:
    """The classifier in a folder, or of a hub id.

    Raises RewardError naming the key that cannot be used.
    """
    folder = Path(reference).expanduser()
    if not folder.is_dir():
        folder = _from_hub(reference)
    return LeRobotClassifier(folder)


class LeRobotClassifier:
    """A binary reward classifier of LeRobot with a ResNet-10.

    Attributes:
        version: FOLDER@HASH, by which rewards name it in the log.
        calibration: Threshold one half, as LeRobot uses it, and no reference scores.
        images: Height and width that it wants, by camera.
        cameras: Names of them.
    """

    def __init__(self, folder: Path) -> None:
        config = _config(folder)
        features = config.get("input_features") or {}
        self.images = {n: tuple(f["shape"][1:]) for n, f in features.items() if n.startswith("observation.image")}
        self.calibration, self.cameras = Calibration(), tuple(self.images)
        if not self.images:
            raise RewardError(f"{folder / CONFIG}: input_features must name an image. Got: {sorted(features)}")
        tensors = _tensors(folder / WEIGHTS)
        self._statistics = _statistics(folder, config, tensors, list(self.images))
        self._network = _Network(config, list(self.images), _trunk(folder, tensors)).eval()
        self._load(folder, tensors)
        self.version = f"{folder.resolve().name}@{sha256_of((folder / WEIGHTS).read_bytes())[:8]}"

    def check(self, contract: Contract) -> None:
        cameras = [f.name for f in contract.stored if f.is_image]
        if missing := [name for name in self.images if name not in cameras]:
            raise FrameError(f"the classifier looks at {missing[0]!r}, and the environment has: {', '.join(cameras)}")

    @torch.inference_mode()
    def logits(self, frames: Mapping[str, np.ndarray]) -> np.ndarray:
        return self._network([self._prepared(name, frames) for name in self.images]).double().numpy()

    def _prepared(self, name: str, frames: Mapping[str, np.ndarray]) -> Tensor:
        value = frames.get(name)
        if value is None or value.dtype != np.uint8 or value.ndim != 4 or value.shape[-1] != 3:
            got = "none" if value is None else f"{value.dtype} of shape {value.shape[1:]}"
            raise FrameError(f"the classifier needs {name!r} as uint8 (height, width, 3). Got: {got}")
        pixels = torch.from_numpy(value).permute(0, 3, 1, 2).to(torch.float32) / 255
        if pixels.shape[2:] != self.images[name]:
            pixels = F.interpolate(pixels, self.images[name], mode="bilinear", antialias=True).clamp(0, 1)
        if name in self._statistics:
            mean, std = self._statistics[name]
            pixels = (pixels - mean) / (std + _EPS)
        return pixels

    def _load(self, folder: Path, tensors: dict[str, Tensor]) -> None:
        own = self._network.state_dict()
        rest = {k: v for k, v in tensors.items() if not _is_trunk(k) and not k.startswith("normalize_")}
        if faults := name_differences({k: (tuple(v.shape), v.dtype) for k, v in own.items()}, rest):
            raise RewardError(f"{folder / WEIGHTS} is not this classifier: {'; '.join(faults[:3])}")
        check_finite(str(folder / WEIGHTS), rest)
        self._network.load_state_dict(rest)


class _Spatial(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(_CHANNELS, _MAP, _MAP, features))

    def forward(self, maps: Tensor) -> Tensor:
        return torch.einsum("bchw,chwf->bcf", maps, self.kernel).flatten(1)


class _Network(nn.Module):
    def __init__(self, config: dict[str, Any], images: list[str], trunk: FrozenResNet) -> None:
        super().__init__()
        pool, latent, hidden = (config[k] for k in ("image_embedding_pooling_dim", "latent_dim", "hidden_dim"))
        self.encoders = nn.ModuleDict(
            {
                name.replace(".", "_"): nn.Sequential(
                    trunk,
                    _Spatial(pool),
                    nn.Identity(),
                    nn.Linear(_CHANNELS * pool, latent),
                    nn.LayerNorm(latent),
                    nn.Tanh(),
                )
                for name in images
            }
        )
        self.classifier_head = nn.Sequential(
            nn.Linear(latent * len(images), hidden),
            nn.Identity(),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def forward(self, images: list[Tensor]) -> Tensor:
        features = [encoder(image) for encoder, image in zip(self.encoders.values(), images, strict=True)]
        return self.classifier_head(torch.cat(features, -1)).squeeze(-1)


def _config(folder: Path) -> dict[str, Any]:
    """config.json. Raises RewardError naming the key that is not supported."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RewardError(f"reward.pretrained={folder}: {CONFIG} cannot be read: {error}") from None
    expected: dict[str, tuple[Any, ...]] = {
        "type": ("reward_classifier",),
        "num_classes": (2,),
        "model_type": ("cnn",),
        "model_name": RESNET10,
    }
    for key, allowed in expected.items():
        if config.get(key) not in allowed:
            raise RewardError(f"{path}: {key} must be {' or '.join(map(repr, allowed))}. Got: {config.get(key)!r}")
    for key in ("image_embedding_pooling_dim", "latent_dim", "hidden_dim"):
        if not isinstance(config.get(key), int):
            raise RewardError(f"{path}: {key} must be a whole number. Got: {config.get(key)!r}")
    sizes = [(n, f.get("shape")) for n, f in (config.get("input_features") or {}).items() if n.startswith(IMAGE_PREFIX)]
    for name, shape in sizes:
        if not shape or len(shape) != 3 or [-(-side // 32) for side in shape[1:]] != [_MAP, _MAP]:
            raise RewardError(f"{path}: input_features[{name!r}].shape must be [3, 128, 128]. Got: {shape}")
    return config


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RewardError(f"{path} cannot be read: {error}") from None


def _is_trunk(key: str) -> bool:
    parts = key.split(".")
    return parts[0] == "encoder" or (parts[0] == "encoders" and parts[2:3] == ["0"])


def _trunk(folder: Path, tensors: dict[str, Tensor]) -> FrozenResNet:
    """The frozen encoder; the file holds it once for all cameras, under the name of any of them."""
    found = {}
    for key, value in tensors.items():
        if _is_trunk(key):
            found[key.split(".", 1 if key.startswith("encoder.") else 3)[-1]] = value
    names = {file_name("resnet10", name) for name, _ in FrozenResNet("resnet10", "").named_buffers()}
    plain = {k: v.contiguous() for k, v in found.items() if k.replace(".conv.weight", ".weight") in names}
    data = save(plain)
    trunk = FrozenResNet("resnet10", sha256_of(data))
    try:
        trunk.load(data)
    except EncoderFileError as error:
        raise RewardError(f"{folder / WEIGHTS}: its encoder is no ResNet-10: {error}") from None
    return trunk


def _statistics(
    folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], images: list[str]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and standard deviation of each camera; none where the config asks for no normalisation.

    Raises RewardError where the config asks for a normalisation that is not there.
    """
    mode = (config.get("normalization_mapping") or {}).get("VISUAL", "IDENTITY")
    if mode == "IDENTITY":
        return {}
    if mode != "MEAN_STD":
        raise RewardError(
            f"{folder / CONFIG}: normalization_mapping.VISUAL must be MEAN_STD or IDENTITY. Got: {mode!r}"
        )
    for file in sorted(folder.glob("*preprocessor*.safetensors")):
        tensors = {**tensors, **_tensors(file)}
    found = {}
    for name in images:
        for prefix in (f"{name}.", f"normalize_inputs.buffer_{name.replace('.', '_')}."):
            if prefix + "mean" in tensors and prefix + "std" in tensors:
                found[name] = tensors[prefix + "mean"].view(-1, 1, 1), tensors[prefix + "std"].view(-1, 1, 1)
        if name not in found:
            raise RewardError(
                f"{folder} lacks '{name}.mean' and '{name}.std' (looked in *preprocessor*.safetensors and {WEIGHTS}), "
                "which normalization_mapping.VISUAL=MEAN_STD needs"
            )
    return found


def _from_hub(reference: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise RewardError(
            f"reward.pretrained={reference} is no folder, and a hub id needs the package huggingface_hub "
            "(pip install huggingface_hub)"
        ) from None
    try:
        return Path(snapshot_download(reference, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # the client raises its own kinds, those of its transport, and OSError
        raise RewardError(f"reward.pretrained={reference} is no folder here and cannot be fetched: {error}") from error
