"""Where a policy runs on the actor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


class DeviceError(ValueError):
    """A device that is not there. The text says what to set."""


def policy_device(name: str) -> torch.device:
    """The device ``actor.device`` names; ``auto`` takes CUDA where there is any, else the CPU, never MPS: for one small
    network and one observation, the CPU of a Mac is as quick.

    Raises DeviceError where it is not there.
    """
    import torch

    if name not in DEVICES:
        raise DeviceError(f"actor.device must be {', '.join(DEVICES[:-1])} or {DEVICES[-1]}. Got: {name!r}")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if there["cuda"] else "cpu")
    if not there[name]:
        has = [device for device, usable in there.items() if usable]
        raise DeviceError(f"actor.device: expected one of {has}, which torch finds here, got {name!r}. Use cpu or auto")
    return torch.device(name)
