"""The deterministic policy of DrQ-v2 (arXiv 2107.09645), with normalised vectors beside its image features."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from policies.layers import init_orthogonal
from policies.policy import Policy
from policies.spec import PolicySpec


class DeterministicPolicy(Policy):
    """``tanh(MLP(vectors, tanh(LayerNorm(Linear(image features)))))``, plus noise where it explores.

    Attributes:
        trunk: Linear, LayerNorm and tanh on the image features, or None where there are none.
        std: Shape (), standard deviation of the exploration noise. The learner's schedule sets it, and it travels with
            every version.
    """

    std: Tensor

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        size = spec.vector_size
        self.trunk: nn.Sequential | None = None
        if spec.images:
            layers = nn.Linear(spec.encoder_size, spec.trunk_size), nn.LayerNorm(spec.trunk_size), nn.Tanh()
            self.trunk = nn.Sequential(*layers)
            size += spec.trunk_size
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise((size, *spec.hidden)))
        self.head = nn.Linear(spec.hidden[-1], spec.action_size)
        self.register_buffer("std", torch.ones(()))
        for part in (self.trunk, self.layers, self.head):
            if part is not None:
                init_orthogonal(part)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F), vectors first, to actions (B, A) in [-1, 1], without noise."""
        x = features
        if self.trunk is not None:
            vectors, images = features.split((self.spec.vector_size, self.spec.encoder_size), -1)
            x = torch.cat((vectors, self.trunk(images)), -1)
        for layer in self.layers:
            x = layer(x).relu_()
        return self.head(x).tanh()

    def action(self, features: Tensor, noise: Tensor | None) -> Tensor:
        mean = self(features)
        return mean if noise is None else (mean + self.std * noise).clamp_(-1, 1)
