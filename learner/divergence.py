"""What is said where losses are not finite: in which tensors, and the learning rates to go on with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from learner.resuming import resume_command

if TYPE_CHECKING:
    from learner.algorithms import Algorithm

NOT_FINITE = "the losses are not finite"
"""In every error of it."""


def odd_tensors(algorithm: Algorithm) -> str:
    """``NaN or infinity in A, B, C``: the first of them; empty where all are finite."""
    from policies.snapshot import non_finite

    found = non_finite(algorithm.state()[0])
    return f"NaN or infinity in {', '.join(found[:3])}" if found else ""


def lower_rates(run: Path, config: Any, *, images: bool) -> str:
    """The command that goes on with a run at a third of an algorithm's learning rates, that of its image encoder
    included."""
    names = ("critic_lr", "actor_lr", *(["encoder_lr"] if images else []))
    return resume_command(run, *(f"algorithm.{name}={getattr(config, name) / 3:.1g}" for name in names))
