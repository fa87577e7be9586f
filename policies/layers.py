"""DrQ-v2's initialisation of layers."""

from __future__ import annotations

from torch import nn


def init_orthogonal(module: nn.Module) -> None:
    """Orthogonal weights, with the gain of a ReLU for convolutions, and zero biases, as DrQ-v2 (arXiv 2107.09645)."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.orthogonal_(part.weight, nn.init.calculate_gain("relu") if isinstance(part, nn.Conv2d) else 1.0)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
