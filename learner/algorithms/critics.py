"""An ensemble of state-action critics evaluated at once: every weight is of shape (critics, in, out)."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from policies.perceptron import perceptron


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
        # Reading a ParameterList takes longer than a small operation on what is in it.
        self._layers = list(self.weights), list(self.biases), list(self.offsets)

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """Features (B, F) and actions (B, A) to values (E, B)."""
        weights, biases, offsets = self._layers
        weights = [*(weight.mT for weight in weights), self.out_weight]
        return perceptron((features, action), weights, [*biases, self.out_bias.unsqueeze(-1)], offsets).squeeze(-1)

    def fixed(self) -> CriticEnsemble:
        """The same critics, in the same memory, of which nothing takes a gradient."""
        twin = copy.deepcopy(self).requires_grad_(False)
        for fixed, parameter in zip(twin.parameters(), self.parameters(), strict=True):
            fixed.data = parameter.data
        return twin


def _uniform(shape: tuple[int, ...], inputs: int) -> nn.Parameter:
    bound = 1 / math.sqrt(inputs)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
