"""Files of pretrained encoder weights: where they come from, and how they reach a policy."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from policies.resnet import EncoderFileError, FrozenResNet

HUB = "hub:"


@dataclass(frozen=True)
class WeightsFile:
    """One file of encoder weights. ``sha256`` is that of ``data``, in hexadecimal."""

    data: bytes
    sha256: str


def read_weights_file(reference: str, sha256: str = "", *, key: str = "algorithm.encoder_weights") -> WeightsFile:
    """The file that settings name.

    Args:
        reference: Path of a safetensors file, or ``hub:OWNER/NAME[@REVISION]/FILE`` of the Hugging Face hub.
        sha256: What it must hash to; empty where any file will do.
        key: Of the setting, for messages.

    Raises:
        EncoderFileError: where it is not there, cannot be fetched, or hashes to something else.
    """
    if not reference:
        raise EncoderFileError(
            f"a pretrained encoder needs its weights: set {key} to a safetensors file or to "
            "hub:OWNER/NAME/FILE (docs/encoders.md names some)"
        )
    path = _from_hub(reference) if reference.startswith(HUB) else Path(reference).expanduser()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EncoderFileError(f"the encoder weights {reference!r} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(data).hexdigest()
    if sha256 and digest != sha256.lower():
        raise EncoderFileError(f"the encoder weights {reference!r} must have sha256 {sha256}. Got: {digest}")
    return WeightsFile(data, digest)


def load_frozen(module: nn.Module, data: bytes) -> None:
    """Gives the frozen part of a policy, or of one of its encoders, the weights of its file; without one, does nothing.

    Raises:
        EncoderFileError: with nothing changed, where the file is not exactly the one that the spec names.
    """
    for trunk in _trunks(module):
        trunk.load(data)


def frozen_bytes(module: nn.Module) -> bytes:
    """The file of a policy's frozen part, which actors need once; empty where it has none.

    Raises:
        EncoderFileError: where it was never loaded.
    """
    for trunk in _trunks(module):
        if trunk.file is None:
            raise EncoderFileError(f"the weights of encoder {trunk.name!r} (sha256 {trunk.sha256}) were not loaded")
        return trunk.file
    return b""


def frozen_loaded(module: nn.Module) -> bool:
    """Whether every frozen part has its weights; true where there is none."""
    return all(trunk.file is not None for trunk in _trunks(module))


def _trunks(module: nn.Module) -> list[FrozenResNet]:
    return [part for part in module.modules() if isinstance(part, FrozenResNet)]


def _from_hub(reference: str) -> Path:
    match = re.fullmatch(r"hub:([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)", reference)
    if match is None:
        raise EncoderFileError(f"encoder weights on the hub must be hub:OWNER/NAME[@REVISION]/FILE. Got: {reference!r}")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise EncoderFileError(
            f"{reference!r} needs the package huggingface_hub (pip install huggingface_hub), or download the file "
            "and give its path"
        ) from error
    repository, revision, file = match.groups()
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except Exception as error:  # the client raises its own kinds, those of its transport, and OSError
        raise EncoderFileError(f"the encoder weights {reference!r} cannot be fetched: {error}") from error
