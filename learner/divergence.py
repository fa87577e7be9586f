"""What is said where losses are not finite: in which tensors, and the learning rates to go on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learner.algorithms import Algorithm

NOT_FINITE = "the losses are not finite"
"""In every error of it."""


def odd_tensors(algorithm: Algorithm) -> str:
    """``NaN or infinity in A, B, C``: the first of them; empty where all are finite."""
    from policies.snapshot import non_finite

    found = non_finite(algorithm.state()[0])
    return f"NaN or infinity in {', '.join(found[:3])}" if found else ""


def lower_rates(config: Any, *, images: bool) -> str:
    """Arguments that set the learning rates of an algorithm, that of its image encoder included, to a third."""
    names = ("critic_lr", "actor_lr", *(["encoder_lr"] if images else []))
    return " ".join(f"algorithm.{name}={getattr(config, name) / 3:.1g}" for name in names)
