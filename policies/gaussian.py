"""The tanh-squashed Gaussian policy of SAC (arXiv 1812.05905, appendix C), over vectors and image features."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from policies.gripper_critic import GripperCritic
from policies.perceptron import perceptron
from policies.policy import Policy
from policies.spec import PolicySpec

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class GaussianPolicy(Policy):
    """``tanh(mean(s) + std(s) * noise)`` after layers of Linear, LayerNorm and ReLU."""

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        sizes = (spec.feature_size, *spec.hidden)
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.offsets = nn.ParameterList(nn.Parameter(torch.zeros(width)) for width in spec.hidden)
        self.head = nn.Linear(sizes[-1], 2 * spec.continuous_size)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()
            self.head.bias[spec.continuous_size :] = spec.initial_log_std
        layers = [*self.layers, self.head]
        # Reading a ParameterList takes longer than a small operation on what is in it.
        self._layers = [each.weight for each in layers], [each.bias for each in layers], list(self.offsets)
        self._log_std_range = (math.log(spec.std_min), math.log(spec.std_max))
        if self.gripper is not None:
            self.gripper_critic = GripperCritic(spec.feature_size, spec.hidden)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, F), vectors first, to mean and log standard deviation, (B, C) each, before squashing."""
        mean, log_std = perceptron([features], *self._layers).chunk(2, -1)
        return mean, log_std.clamp(*self._log_std_range)

    def action(self, features: Tensor, noise: Tensor | None) -> Tensor:
        mean, log_std = self(features)
        return (mean if noise is None else mean + log_std.exp() * noise).tanh()


def squash(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """An action ``tanh(u)``, u = mean + std * noise, shape (B, A), and its log-probability, shape (B,).

    arXiv 1812.05905, equation 26, with log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)), which does not underflow.
    """
    return _Squash.apply(mean, log_std, noise)


class _Squash(torch.autograd.Function):
    """With its gradient written out: -log(1 - tanh(u)^2) has the slope 2 tanh(u)."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        spread = log_std.exp().mul_(noise)
        u = mean + spread
        action = u.tanh()
        log_prob = F.softplus(-2 * u).add_(u).mul_(2).sub_(log_std).addcmul_(noise, noise, value=-0.5).sum(-1)
        ctx.save_for_backward(action, spread)
        return action, log_prob.sub_(mean.shape[-1] * (2 * math.log(2) + _HALF_LOG_2PI))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_action: Tensor, by_log_prob: Tensor) -> tuple[Tensor, Tensor, None]:
        action, spread = ctx.saved_tensors
        by_log_prob = by_log_prob.unsqueeze(-1)
        by_u = torch.ops.aten.tanh_backward(by_action, action).addcmul_(by_log_prob, action, value=2)
        return by_u, by_u * spread - by_log_prob, None


def recorded_log_prob(mean: Tensor, log_std: Tensor, action: Tensor, edge: float) -> Tensor:
    """Log-probability (B,) of recorded actions (B, A), which are first moved into [-1 + edge, 1 - edge].

    At |a| = 1 the squashed density has no finite logarithm; ``edge`` keeps it and its gradient finite.
    """
    action = action.clamp(-1 + edge, 1 - edge)
    u = action.atanh()
    log_prob = -0.5 * ((u - mean) * (-log_std).exp()).square() - log_std - _HALF_LOG_2PI - torch.log1p(-action.square())
    return log_prob.sum(-1)
