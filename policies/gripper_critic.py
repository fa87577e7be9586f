"""The values of closing, keeping and opening the gripper (HIL-SERL, arXiv 2410.21845), from which a policy chooses."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from policies.gripper import CLOSE, OPEN
from policies.perceptron import perceptron

CLASSES = 3


class GripperCritic(nn.Module):
    """Q(s, k) of each class k of ``policies.gripper``: layers of Linear, LayerNorm and ReLU and a linear output."""

    def __init__(self, feature_size: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise((feature_size, *hidden)))
        self.offsets = nn.ParameterList(nn.Parameter(torch.zeros(width)) for width in hidden)
        self.head = nn.Linear(hidden[-1], CLASSES)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()
        layers = [*self.layers, self.head]
        self._layers = [each.weight for each in layers], [each.bias for each in layers], list(self.offsets)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F), vectors first, to values (B, 3)."""
        return perceptron([features], *self._layers)


def of_those_there(values: Tensor, last_command: Tensor) -> Tensor:
    """Values (B, 3) with -inf for the classes that would do nothing at last commands (B,).

    To close a closed gripper is what staying is: no recorded step is of that class, so its value is never learned.
    """
    there = torch.ones_like(values, dtype=torch.bool)
    there[:, CLOSE], there[:, OPEN] = last_command >= 0, last_command <= 0
    return values.masked_fill(~there, -torch.inf)


def greedy(values: Tensor, last_command: Tensor) -> Tensor:
    """The class of the greatest of values (B, 3) among those that are there at last commands (B,), integers (B,)."""
    return of_those_there(values, last_command).argmax(-1)
