"""DrQ-v2 as its paper writes it (arXiv 2107.09645, section 4.1), with one optimiser a network as the authors have.

An encoder, an actor and two critics of plain nn modules in float64.
"""

import copy
import math
from itertools import pairwise

import torch
from torch import nn

from tests.learner.reference import Adam

STATE, IMAGE = "observation.state", "observation.images.front"


def perceptron(sizes, outputs):
    layers = [layer for i, o in pairwise(sizes) for layer in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


def trunk(flat, units):
    return nn.Sequential(nn.Linear(flat, units), nn.LayerNorm(units), nn.Tanh())


class Networks(nn.Module):
    """The paper's figure 1 with vectors beside the trunks' outputs; float64.

    Args:
        spec: Sizes, and which inputs there are.
    """

    def __init__(self, spec):
        super().__init__()
        self.images, self.vectors = bool(spec.images), bool(spec.inputs)
        self.encoder, self.actor_trunk, self.critic_trunk = (nn.Sequential() for _ in range(3))
        seen = spec.vector_size
        if self.images:
            self.encoder = nn.Sequential(
                *(nn.Conv2d(3 * spec.image_stacks[0], 32, 3, stride=2), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU()),
                *(nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU()),
            )
            self.actor_trunk, self.critic_trunk = (trunk(spec.encoder_size, spec.trunk_size) for _ in range(2))
            seen += spec.trunk_size
        self.actor_head = perceptron((seen, *spec.hidden), spec.action_size)
        self.q = nn.ModuleList(perceptron((seen + spec.action_size, *spec.hidden), 1) for _ in range(2))
        self.double()

    def see(self, trunk, h, v):
        return torch.cat([*([v] if self.vectors else []), *([trunk(h)] if self.images else [])], -1)

    def encode(self, images):
        x = torch.from_numpy(images).double().permute(0, 3, 1, 2) / 255 - 0.5
        return self.encoder(x).flatten(1)

    def mean(self, h, v):
        return torch.tanh(self.actor_head(self.see(self.actor_trunk, h, v)))

    def values(self, h, v, action):
        x = torch.cat([self.see(self.critic_trunk, h, v), action], -1)
        return self.q[0](x)[:, 0], self.q[1](x)[:, 0]

    def of_actor(self):
        return [*self.actor_trunk.parameters(), *self.actor_head.parameters()]

    def of_critic(self):
        return [*self.critic_trunk.parameters(), *self.q.parameters()]

    def of_encoder(self):
        return list(self.encoder.parameters())

    def of_all(self):
        return [*self.of_actor(), *self.of_critic(), *self.of_encoder()]


def gradients_of(loss, parameters):
    return list(torch.autograd.grad(loss, parameters, retain_graph=True)) if parameters else []


class Reference:
    def __init__(self, ours, config, *, warm_until=0, start=1.0):
        self.c, self.start, self.warm_until, self.updates = config, start, warm_until, 0
        self.net = networks_of(ours.policy, ours.critic)
        self.target, self.ema = copy.deepcopy(self.net), copy.deepcopy(self.net)
        self.mean, self.std = ours.policy.normalizer.mean.double(), ours.policy.normalizer.std.double()
        self.actor_adam = Adam(self.net.of_actor(), config.actor_lr)
        self.critic_adam = Adam(self.net.of_critic(), config.critic_lr)
        self.encoder_adam = Adam(self.net.of_encoder(), config.encoder_lr)

    def inputs(self, observation, noise):
        x = (torch.from_numpy(observation[STATE]).double() - self.mean) / self.std
        return x.clamp(-self.c.input_clip, self.c.input_clip) + self.c.input_noise * noise

    def sigma(self):
        """Linear from its start to its end, over agent steps; the paper updates every second one."""
        passed = min(self.updates / self.c.utd_ratio / self.c.std_decay_steps, 1.0)
        return self.start + passed * (self.c.std_end - self.start)

    def act(self, h, v, normal):
        """a = pi(h) + clip(eps, -c, c) in the box, with the gradient of pi alone: equations (1) and (2)."""
        mean = self.net.mean(h, v)
        eps = (self.sigma() * normal).clamp(-self.c.noise_clip, self.c.noise_clip)
        with torch.no_grad():
            held_back = (mean + eps).clamp(-1 + 1e-6, 1 - 1e-6) - mean
        return mean + held_back

    def update(self, b, draws):
        c, net = self.c, self.net
        draws = {k: v.double() for k, v in draws.items()}
        zero = torch.zeros(())
        v = self.inputs(b.observation, draws.get("observation", zero)) if net.vectors else None
        v2 = self.inputs(b.next_observation, draws.get("next_observation", zero)) if net.vectors else None
        h, h2 = (net.encode(o[IMAGE]) if net.images else None for o in (b.observation, b.next_observation))
        stopped = None if h is None else h.detach()
        a, reward, discount = (torch.from_numpy(x).double() for x in (b.action, b.reward, b.discount))
        with torch.no_grad():
            y = reward + discount * torch.minimum(*self.target.values(h2, v2, self.act(h2, v2, draws["next_action"])))
            if c.clamp_targets:
                y = y.clamp(0.0, 1.0)
        q1, q2 = net.values(h, v, a)
        critic_loss = ((q1 - y) ** 2).mean() + ((q2 - y) ** 2).mean()
        critic_gradients = torch.autograd.grad(critic_loss, net.of_critic(), retain_graph=True)
        encoder_gradients = gradients_of(critic_loss, net.of_encoder())
        self.critic_adam.step(critic_gradients)
        warm = self.updates >= self.warm_until
        losses = {"critic_loss": critic_loss / 2, "target_mean": y.mean(), "q_mean": ((q1 + q2) / 2).mean()}
        actor_gradients = None
        if warm and self.updates % c.actor_every == 0:
            actor_loss = -torch.minimum(*net.values(stopped, v, self.act(stopped, v, draws["action"]))).mean()
            actor_gradients = torch.autograd.grad(actor_loss, net.of_actor(), retain_graph=True)
            losses["actor_loss"] = actor_loss
            if c.clone_weight:
                decay = math.exp(-self.updates / c.clone_decay_updates) if c.clone_decay_updates else 1.0
                rows = torch.from_numpy(b.human)
                clone_loss = ((net.mean(h, v)[rows] - a[rows]) ** 2).sum(1).mean()
                losses["clone_loss"] = clone_loss
                parameters = [*net.of_actor(), *net.of_encoder()]
                more = [decay * c.clone_weight * g for g in torch.autograd.grad(clone_loss, parameters)]
                actor_gradients = [p + q for p, q in zip(actor_gradients, more, strict=False)]
                of_encoder = more[len(actor_gradients) :]
                encoder_gradients = [p + q for p, q in zip(encoder_gradients, of_encoder, strict=True)]
            self.actor_adam.step(actor_gradients)
        if warm:
            self.encoder_adam.step(encoder_gradients)
        with torch.no_grad():
            for p, t in zip(net.of_critic(), self.target.of_critic(), strict=True):
                t.copy_((1 - c.tau) * t + c.tau * p)
            if warm:
                mine, averages = (n.of_actor() + n.of_encoder() for n in (net, self.ema))
                for p, e in zip(mine, averages, strict=True):
                    e.copy_((1 - c.ema) * e + c.ema * p)
        self.updates += 1
        return losses, critic_gradients, actor_gradients, encoder_gradients if warm else None


@torch.no_grad()
def networks_of(policy, critic):
    """Our networks as the reference's. Ours flatten a feature map by pixels, the paper's by channels."""
    net = Networks(policy.spec)
    if net.images:
        convolutions = [m for m in policy.encoder.modules() if isinstance(m, nn.Conv2d)]
        for theirs, own in zip(net.encoder[::2], convolutions, strict=True):
            theirs.load_state_dict({k: v.double() for k, v in own.state_dict().items()})
        side = math.isqrt(net.actor_trunk[0].in_features // 32)
        order = torch.arange(side * side * 32).view(side, side, 32).permute(2, 0, 1).flatten()
        for theirs, own in ((net.actor_trunk, policy.trunk), (net.critic_trunk, critic.trunk)):
            theirs[0].weight.copy_(own[0].weight[:, order])
            theirs[0].bias.copy_(own[0].bias)
            theirs[1].load_state_dict({k: v.double() for k, v in own[1].state_dict().items()})
    for theirs, own in zip(net.actor_head[::2], [*policy.layers, policy.head], strict=True):
        theirs.load_state_dict({k: v.double() for k, v in own.state_dict().items()})
    for e, q in enumerate(net.q):
        for theirs, weight, bias in zip(q[::2], critic.weights, critic.biases, strict=True):
            theirs.weight.copy_(weight[e].T)
            theirs.bias.copy_(bias[e, 0])
    return net
