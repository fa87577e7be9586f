"""A classifier as bytes: safetensors with JSON in its header, loaded completely or refused. Nothing in it can run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from episodes.durable import write_durably
from policies.resnet import EncoderFileError
from policies.snapshot import SnapshotError, check_finite, load_tensors
from reward.classifier import ClassifierSpec, SuccessClassifier
from reward.config import RewardError
from reward.network import ClassifierNetwork
from reward.stored_spec import spec_of

FILE = "classifier.safetensors"
FORMAT = "tandem.classifier.v1"
_FROZEN = "frozen_encoder_file"
_UNREADABLE = (SafetensorError, SnapshotError, EncoderFileError, LookupError, TypeError, ValueError, RuntimeError)
"""RuntimeError is torch's, and the RecursionError of JSON that is nested too deep."""


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
            raise RewardError(f"its format must be {FORMAT!r}. Got: {header.get('format')!r}")
        spec = spec_of(json.loads(header["spec"]))
        tensors = load(data)
        network = ClassifierNetwork(spec.network)
        frozen = tensors.pop(_FROZEN, None)
        if network.trunk is not None:
            network.trunk.load(b"" if frozen is None else frozen.numpy().tobytes())
        check_finite(where, tensors)
        load_tensors(network, tensors)
        classifier = SuccessClassifier(spec, network, f"{spec.name}@{sha256_of(data)[:8]}")
        _try(classifier)
    except _UNREADABLE as error:
        raise RewardError(f"{where} cannot be read: {error}. Train it anew with `tandem reward train`") from error
    return classifier


def save_classifier(folder: Path, spec: ClassifierSpec, network: ClassifierNetwork) -> SuccessClassifier:
    """Writes the classifier into ``folder``, whole or not at all, and returns it as loaded again."""
    data = classifier_bytes(spec, network)
    classifier = load_classifier(data, str(folder / FILE))
    write_durably(folder / FILE, data)
    return classifier


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


def _try(classifier: SuccessClassifier) -> None:
    """One forward pass, of black frames: what cannot look fails here, and not in a control loop."""
    cameras = classifier.spec.preprocessing.cameras
    logits = classifier.logits({c.name: np.zeros((1, c.height, c.width, 3), np.uint8) for c in cameras})
    if logits.shape != (1,) or not np.isfinite(logits).all():
        raise RewardError(f"it must give one finite logit for black frames. Got: {logits.tolist()}")


def _header(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise ValueError(f"it is cut short at {len(data)} bytes")
    header = json.loads(data[8 : 8 + size])
    found = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(found, dict):
        raise ValueError("its header has no __metadata__")
    return found
