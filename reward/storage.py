"""A classifier as bytes: safetensors with JSON in its header, loaded completely or refused. Nothing in it can run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from episodes.durable import write_durably
from policies.resnet import EncoderFileError
from policies.snapshot import SnapshotError, check_finite, load_tensors
from reward.classifier import Calibration, ClassifierSpec, SuccessClassifier
from reward.config import RewardError
from reward.network import ClassifierNetwork, NetworkSpec
from reward.preprocessing import CameraFrames, Preprocessing

FILE = "classifier.safetensors"
FORMAT = "tandem.classifier.v1"
_FROZEN = "frozen_encoder_file"


def classifier_bytes(spec: ClassifierSpec, network: ClassifierNetwork) -> bytes:
    """The classifier as bytes, the file of a frozen encoder included. Raises SnapshotError where it is not finite."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    check_finite("the classifier", tensors)
    if network.trunk is not None:
        assert network.trunk.file is not None
        tensors[_FROZEN] = torch.frombuffer(bytearray(network.trunk.file), dtype=torch.uint8)
    return save(tensors, metadata={"format": FORMAT, "spec": json.dumps(asdict(spec))})


def load_classifier(data: bytes, where: str = "the classifier") -> SuccessClassifier:
    """The classifier in ``data``; ``where`` names it in messages.

    Raises RewardError where it is none of this version, cut short, changed or not finite.
    """
    try:
        header = _header(data)
        if header.get("format") != FORMAT:
            raise RewardError(f"{where} must have format {FORMAT!r}. Got: {header.get('format')!r}")
        spec = _spec(json.loads(header["spec"]))
        tensors = load(data)
        network = ClassifierNetwork(spec.network)
        frozen = tensors.pop(_FROZEN, None)
        if network.trunk is not None:
            network.trunk.load(b"" if frozen is None else frozen.numpy().tobytes())
        check_finite(where, tensors)
        load_tensors(network, tensors)
    except (SafetensorError, SnapshotError, EncoderFileError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, RewardError):
            raise
        raise RewardError(f"{where} cannot be read: {error}. Train it anew with `tandem reward train`") from error
    return SuccessClassifier(spec, network, f"{spec.name}@{sha256_of(data)[:8]}")


def save_classifier(folder: Path, spec: ClassifierSpec, network: ClassifierNetwork) -> SuccessClassifier:
    """Writes the classifier into ``folder``, whole or not at all, and returns it as loaded from there."""
    data = classifier_bytes(spec, network)
    write_durably(folder / FILE, data)
    return load_classifier(data, str(folder / FILE))


def read_classifier(path: Path) -> bytes:
    """The bytes of a classifier file, or of that in a folder of `tandem reward train`. Raises RewardError."""
    file = path / FILE if path.is_dir() else path
    try:
        return file.read_bytes()
    except OSError as error:
        raise RewardError(
            f"reward.model={path} cannot be read: {error.strerror}. Name a folder of `tandem reward train`"
        ) from error


def sha256_of(data: bytes) -> str:
    """Hexadecimal digest of a classifier's bytes."""
    return hashlib.sha256(data).hexdigest()


def _header(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise ValueError(f"it is cut short at {len(data)} bytes")
    return dict(json.loads(data[8 : 8 + size]).get("__metadata__", {}))


def _spec(values: dict[str, Any]) -> ClassifierSpec:
    seen = values["preprocessing"]
    cameras = tuple(CameraFrames(**_tuples(camera)) for camera in seen["cameras"])
    height, width = seen["size"]
    return ClassifierSpec(
        name=values["name"],
        task=values["task"],
        network=NetworkSpec(**values["network"]),
        preprocessing=Preprocessing(cameras, (int(height), int(width))),
        calibration=Calibration(**_tuples(values["calibration"])),
    )


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
