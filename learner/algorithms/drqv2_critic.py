"""The critics of DrQ-v2: one trunk on image features, and an ensemble of perceptrons on what it gives."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class TrunkCritics(nn.Module):
    """Q_e(s, a) for e = 1..E: a trunk (Linear, LayerNorm, tanh) that all share, then Linear and ReLU layers of each.

    Without image features there is no trunk. Weights are orthogonal and biases zero at the start, as published.

    Attributes:
        trunk: From image features (B, image_size) to (B, trunk_size); None where there are none.
        weights: Of each layer, the output among them, shape (E, in, out).
        biases: Of each layer, shape (E, 1, out).
    """

    def __init__(
        self,
        vector_size: int,
        image_size: int,
        action_size: int,
        *,
        trunk_size: int,
        hidden: tuple[int, ...],
        critics: int = 2,
    ) -> None:
        super().__init__()
        self.critics = critics
        self.vector_size = vector_size
        self.trunk: nn.Sequential | None = None
        if image_size:
            linear = nn.Linear(image_size, trunk_size)
            nn.init.orthogonal_(linear.weight)
            nn.init.zeros_(linear.bias)
            self.trunk = nn.Sequential(linear, nn.LayerNorm(trunk_size), nn.Tanh())
        sizes = (vector_size + (trunk_size if image_size else 0) + action_size, *hidden, 1)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for size, width in pairwise(sizes):
            weight = torch.stack([nn.init.orthogonal_(torch.empty(size, width)) for _ in range(critics)])
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(critics, 1, width)))

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """Features (B, F), vectors first, and actions (B, A) to values (E, B)."""
        if self.trunk is not None:
            vectors, images = features[:, : self.vector_size], features[:, self.vector_size :]
            features = torch.cat((vectors, self.trunk(images)), -1)
        x = torch.cat((features, action), -1).expand(self.critics, -1, -1)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x if i == 0 else torch.relu(x), weight)
        return x.squeeze(-1)
