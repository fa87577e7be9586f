"""Frozen normalisation of a policy's inputs: part of the policy, shipped with every version of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

Statistics = Mapping[str, tuple[np.ndarray, np.ndarray]]


class Normalizer(nn.Module):
    """``clip((x - mean) / std, -clip, clip)``, computed once when learning starts and frozen from then on.

    Attributes:
        mean: Shape (F,), in the inputs' units. Zero until set.
        std: Shape (F,), in the inputs' units, floored. One until set.
        frozen: Shape (), bool: whether the statistics have been set.
    """

    mean: Tensor
    std: Tensor
    frozen: Tensor

    def __init__(self, size: int, clip: float) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self.register_buffer("frozen", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) in the inputs' units to (B, F) in standard deviations."""
        return ((x - self.mean) / self.std).clamp_(-self.clip, self.clip)

    def freeze(self, mean: np.ndarray, std: np.ndarray, floor: float) -> None:
        """Sets the statistics, (F,) each, with ``std`` floored. Raises ValueError when they have been set before."""
        if bool(self.frozen):
            raise ValueError("the normalisation statistics are frozen: they are set once, when learning starts")
        for key, value in (("mean", mean), ("std", std)):
            if value.shape != self.mean.shape:
                raise ValueError(f"{key} must have shape {tuple(self.mean.shape)}. Got: {value.shape}")
            if not np.isfinite(value).all():
                raise ValueError(f"{key} must be finite. Got: {value}")
        self.mean.copy_(torch.as_tensor(mean))
        self.std.copy_(torch.as_tensor(np.maximum(std, floor)))
        self.frozen.fill_(True)


def stacked_statistics(
    statistics: Statistics, names: Sequence[str], stacks: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std, (F,) each, of the named inputs after stacking. Raises ValueError naming an absent input."""
    for name in names:
        if name not in statistics:
            raise ValueError(f"there are no statistics of input {name!r}. There are: {sorted(statistics)}")
    if not names:
        return np.zeros(0), np.ones(0)
    parts = [(np.tile(statistics[n][0], k), np.tile(statistics[n][1], k)) for n, k in zip(names, stacks, strict=True)]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
