"""An ensemble of state-action critics evaluated at once: every weight is of shape (critics, in, out)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from policies.layers import norm_relu


class CriticEnsemble(nn.Module):
    """Q_e(s, a) for e = 1..E, each a stack of Linear, LayerNorm and ReLU layers and a linear output.

    Attributes:
        weights: Of each hidden layer, shape (E, in, out).
        biases: Of each hidden layer, shape (E, 1, out).
        offsets: LayerNorm's offset of each hidden layer, shape (E, 1, out).
        out_weight: Of the output, shape (E, 1, in).
        out_bias: Of the output, shape (E, 1).
    """

    def __init__(self, feature_size: int, action_size: int, hidden: tuple[int, ...], critics: int) -> None:
        super().__init__()
        self.critics = critics
        sizes = (feature_size + action_size, *hidden)
        self.weights, self.biases, self.offsets = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for size, width in pairwise(sizes):
            self.weights.append(_uniform((critics, size, width), size))
            self.biases.append(_uniform((critics, 1, width), size))
            self.offsets.append(nn.Parameter(torch.zeros(critics, 1, width)))
        self.out_weight = _uniform((critics, 1, sizes[-1]), sizes[-1])
        self.out_bias = _uniform((critics, 1), sizes[-1])

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """Features (B, F) and actions (B, A) to values (E, B)."""
        x = torch.cat((features, action), -1).expand(self.critics, -1, -1)
        for weight, bias, offset in zip(self.weights, self.biases, self.offsets, strict=True):
            x = norm_relu(torch.baddbmm(bias, x, weight), offset)
        return torch.linalg.vecdot(x, self.out_weight) + self.out_bias


def _uniform(shape: tuple[int, ...], inputs: int) -> nn.Parameter:
    bound = 1 / math.sqrt(inputs)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
