"""The whole state of an algorithm as named tensors and JSON values, loaded completely or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from policies.snapshot import name_differences


class StateError(ValueError):
    """A saved state that is not the complete state of this algorithm."""


def save_state(
    tensors: Mapping[str, Tensor], generator: torch.Generator, meta: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Copies on the CPU, the generator's state among them as ``generator``, and the JSON values."""
    saved = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    saved["generator"] = generator.get_state()
    return saved, {**meta, "device": generator.device.type}


def load_state(
    tensors: Mapping[str, Tensor],
    generator: torch.Generator,
    meta: Mapping[str, Any],
    saved: Mapping[str, Tensor],
    saved_meta: Mapping[str, Any],
) -> None:
    """Copies a saved state into ``tensors`` and ``generator``; the caller takes the JSON values.

    Raises:
        StateError: with nothing changed, naming every key that is missing, unexpected or of another type or shape.
    """
    expected_meta = {**meta, "device": generator.device.type}
    faults = [f"{key!r} is missing" for key in expected_meta if key not in saved_meta]
    faults += [f"{key!r} is unexpected" for key in saved_meta if key not in expected_meta]
    faults += [
        f"{key!r} must be {value!r}. Got: {saved_meta[key]!r}"
        for key, value in expected_meta.items()
        if isinstance(value, str) and saved_meta.get(key, value) != value
    ]
    faults += [
        f"{key!r} must be a whole number. Got: {saved_meta[key]!r}"
        for key, value in expected_meta.items()
        if isinstance(value, int) and key in saved_meta and type(saved_meta[key]) is not int
    ]
    if not faults:
        expected = {name: (tuple(value.shape), value.dtype) for name, value in tensors.items()}
        expected["generator"] = (tuple(generator.get_state().shape), torch.uint8)
        faults = name_differences(expected, saved)
    if faults:
        raise StateError("nothing was loaded: " + "; ".join(faults))
    with torch.no_grad():
        for name, value in tensors.items():
            value.copy_(saved[name])
    generator.set_state(saved["generator"])
