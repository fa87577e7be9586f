"""The tanh-squashed Gaussian policy of SAC (arXiv 1812.05905, appendix C), over vectors and image features."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policies.layers import norm_relu
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
        self.head = nn.Linear(sizes[-1], 2 * spec.action_size)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()
            self.head.bias[spec.action_size :] = spec.initial_log_std
        self._log_std_range = (math.log(spec.std_min), math.log(spec.std_max))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, F), vectors first, to mean and log standard deviation, (B, A) each, before squashing."""
        x = features
        for layer, offset in zip(self.layers, self.offsets, strict=True):
            x = norm_relu(layer(x), offset)
        mean, log_std = self.head(x).chunk(2, -1)
        return mean, log_std.clamp(*self._log_std_range)

    def action(self, features: Tensor, noise: Tensor | None) -> Tensor:
        mean, log_std = self(features)
        return (mean if noise is None else mean + log_std.exp() * noise).tanh()


def squash(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """An action ``tanh(u)``, u = mean + std * noise, shape (B, A), and its log-probability, shape (B,).

    arXiv 1812.05905, equation 26, with log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)), which does not underflow.
    """
    u = mean + log_std.exp() * noise
    log_prob = -0.5 * noise.square() - log_std - _HALF_LOG_2PI - 2 * (math.log(2) - u - F.softplus(-2 * u))
    return u.tanh(), log_prob.sum(-1)


def recorded_log_prob(mean: Tensor, log_std: Tensor, action: Tensor, edge: float) -> Tensor:
    """Log-probability (B,) of recorded actions (B, A), which are first moved into [-1 + edge, 1 - edge].

    At |a| = 1 the squashed density has no finite logarithm; ``edge`` keeps it and its gradient finite.
    """
    action = action.clamp(-1 + edge, 1 - edge)
    u = action.atanh()
    log_prob = -0.5 * ((u - mean) * (-log_std).exp()).square() - log_std - _HALF_LOG_2PI - torch.log1p(-action.square())
    return log_prob.sum(-1)
