"""Where updates run."""

from __future__ import annotations

import torch


def choose_device(name: str) -> torch.device:
    """``auto`` takes cuda, then cpu. Raises ValueError where the named device is not there.

    ``auto`` never takes mps: at these sizes the CPU of a Mac is quicker.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda", "mps"):
        raise ValueError(f"learner.device must be auto, cpu, cuda or mps. Got: {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("learner.device=cuda, and torch finds no CUDA device. Use learner.device=cpu or auto")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ValueError("learner.device=mps, and torch finds no MPS device. Use learner.device=cpu or auto")
    return torch.device(name)
