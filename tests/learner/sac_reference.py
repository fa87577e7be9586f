"""SAC's networks and squashed policy as the papers write them: SAC (1812.05905), RLPD (2302.02948). In float64.

Every network is of nn.Linear and nn.LayerNorm of its own, and the policy of torch.distributions.
"""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution


class Mlp(nn.Module):
    """Linear, LayerNorm without a gain and ReLU; the output linear."""

    def __init__(self, sizes, outputs):
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.norm = nn.ModuleList(nn.LayerNorm(o) for o in sizes[1:])
        for norm in self.norm:
            norm.weight.requires_grad_(False)
        self.out = nn.Linear(sizes[-1], outputs)
        self.double()

    def forward(self, x):
        for linear, norm in zip(self.linear, self.norm, strict=True):
            x = torch.relu(norm(linear(x)))
        return self.out(x)


class SquashedPolicy:
    """What a reference draws from and fits, whatever its actor sees.

    Args:
        sac: The algorithm whose statistics and temperature it starts from.
        config: Its settings.
        actor: Features to means and logarithms of standard deviations.
    """

    def __init__(self, sac, config, actor):
        self.c, self.actor, self.updates = config, actor, 0
        self.mean, self.std = sac.policy.normalizer.mean.double(), sac.policy.normalizer.std.double()
        self.log_alpha = sac.log_temperature.detach().double().clone().requires_grad_()

    def vectors(self, vectors, noise):
        x = (torch.from_numpy(vectors).double() - self.mean) / self.std
        return x.clamp(-self.c.input_clip, self.c.input_clip) + self.c.input_noise * noise

    def gaussian(self, s):
        mean, log_std = self.actor(s).chunk(2, -1)
        return Normal(mean, log_std.clamp(math.log(self.c.std_min), math.log(self.c.std_max)).exp())

    def sample(self, s, noise):
        """An action and its log-probability."""
        normal = self.gaussian(s)
        squash = TanhTransform(cache_size=1)
        action = squash(normal.loc + normal.scale * noise)
        return action, Independent(TransformedDistribution(normal, [squash]), 1).log_prob(action)

    def recorded(self, s, action):
        """Log-probability of a recorded action; the standard deviation is not fitted unless ``clone_std``."""
        normal, edge = self.gaussian(s), self.c.action_edge
        fitted = normal if self.c.clone_std else Normal(normal.loc, normal.scale.detach())
        squashed = TransformedDistribution(fitted, [TanhTransform()])
        return Independent(squashed, 1).log_prob(action.clamp(-1 + edge, 1 - edge))

    def temperature_loss(self, log_prob):
        target_entropy = self.c.target_entropy_per_action * (self.actor.out.out_features // 2)
        return (-self.log_alpha.exp() * (log_prob.detach() + target_entropy)).mean()


def trainable(*modules):
    return [p for module in modules for p in module.parameters() if p.requires_grad]


@torch.no_grad()
def actor_of(policy):
    """Our policy's perceptron as the reference's."""
    sizes = (policy.layers[0].in_features, *(layer.out_features for layer in policy.layers))
    actor = Mlp(sizes, policy.head.out_features)
    for i, layer in enumerate(policy.layers):
        fill(actor, i, layer.weight, layer.bias, policy.offsets[i])
    actor.out.weight.copy_(policy.head.weight)
    actor.out.bias.copy_(policy.head.bias)
    return actor


@torch.no_grad()
def critic_of(ensemble, e):
    """One critic of our ensemble as the reference's."""
    weights = [weight[e].T for weight in ensemble.weights]
    critic = Mlp((weights[0].shape[1], *(weight.shape[0] for weight in weights)), 1)
    for i, weight in enumerate(weights):
        fill(critic, i, weight, ensemble.biases[i][e, 0], ensemble.offsets[i][e, 0])
    critic.out.weight.copy_(ensemble.out_weight[e])
    critic.out.bias.copy_(ensemble.out_bias[e])
    return critic


def critics_of(ensemble):
    return [critic_of(ensemble, e) for e in range(ensemble.critics)]


def fill(network, i, weight, bias, offset):
    network.linear[i].weight.copy_(weight)
    network.linear[i].bias.copy_(bias)
    network.norm[i].bias.copy_(offset)
