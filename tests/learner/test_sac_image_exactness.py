"""SAC on images against a reference written from the papers: SAC (1812.05905), RLPD (2302.02948), HIL-SERL.

In float64: an encoder of plain convolutions over x / 255 - 0.5, one nn.Sequential a critic, every gradient taken from
its written loss by autograd, and Adam (1412.6980). Nothing of ours is imported but the settings.
"""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from learner.algorithms import SACConfig, build_algorithm

STATE, FRONT, WRIST = "observation.state", "observation.images.front", "observation.images.wrist"
FRAME, STACK, HEIGHT, WIDTH, ACTION, BATCH, WIDE, ENCODED = 4, 2, 16, 20, 3, 24, 20, 12
VECTOR = FRAME * STACK


def contract():
    interface = Interface(
        "t",
        (Feature(STATE, "float32", (FRAME,)), *(Feature(n, "uint8", (HEIGHT, WIDTH, 3)) for n in (FRONT, WRIST))),
        Feature("action", "float32", (ACTION,), low=(-1.0,), high=(1.0,)),
        reward=RewardBounds(True, 0.0, 1.0, True),
    )
    stacks = {STATE: STACK, FRONT: 1, WRIST: 2}
    return Contract(interface, View(tuple(FeatureView(name, stack=stack) for name, stack in stacks.items())))


def batch(seed):
    rng = np.random.default_rng(seed)

    def observation():
        return {
            STATE: 2 * rng.standard_normal((BATCH, VECTOR)).astype(np.float32),
            FRONT: rng.integers(0, 256, (BATCH, HEIGHT, WIDTH, 3), np.uint8),
            WRIST: rng.integers(0, 256, (BATCH, HEIGHT, WIDTH, 6), np.uint8),
        }

    return SimpleNamespace(
        observation=observation(),
        next_observation=observation(),
        action=np.tanh(rng.standard_normal((BATCH, ACTION))).astype(np.float32),
        reward=(rng.random(BATCH) * 1.5 - 0.3).astype(np.float32),
        discount=(0.97 ** rng.integers(1, 4, BATCH) * (rng.random(BATCH) > 0.2)).astype(np.float32),
        human=rng.random(BATCH) < 0.4,
        demonstration=np.zeros(BATCH, bool),
    )


class Recorder:
    """The algorithm's own random numbers, kept for the reference."""

    def __init__(self, noise):
        self.noise, self.draws = noise, {}

    def normal(self, name, shape):
        return self.draws.setdefault(name, self.noise.normal(name, shape)).clone()


class ReferenceEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.ModuleList([nn.Conv2d(9, 32, 4, 4), *(nn.Conv2d(32, 32, 3, 2, 1) for _ in range(2))])
        self.linear, self.norm = nn.Linear(32 * 1 * 2, ENCODED), nn.LayerNorm(ENCODED)

    def forward(self, observation):
        images = np.concatenate([observation[FRONT], observation[WRIST]], -1)
        x = torch.from_numpy(images).double().permute(0, 3, 1, 2) / 255 - 0.5
        for conv in self.conv:
            x = torch.relu(conv(x))
        return torch.tanh(self.norm(self.linear(x.permute(0, 2, 3, 1).flatten(1))))


def mlp(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, WIDE), nn.LayerNorm(WIDE), nn.ReLU(), nn.Linear(WIDE, outputs)).double()


class Adam:
    """Algorithm 1 of arXiv 1412.6980."""

    def __init__(self, parameters, lr):
        self.parameters, self.lr, self.t = parameters, lr, 0
        self.m = [torch.zeros_like(p) for p in parameters]
        self.v = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(self, gradients):
        self.t += 1
        for p, g, m, v in zip(self.parameters, gradients, self.m, self.v, strict=True):
            m.copy_(0.9 * m + 0.1 * g)
            v.copy_(0.999 * v + 0.001 * g**2)
            p -= self.lr * (m / (1 - 0.9**self.t)) / ((v / (1 - 0.999**self.t)).sqrt() + 1e-8)


class Reference:
    def __init__(self, sac, config):
        self.c, self.updates = config, 0
        self.mean, self.std = sac.policy.normalizer.mean.double(), sac.policy.normalizer.std.double()
        self.encoder = encoder_of(sac.policy.encoder)
        self.actor = actor_of(sac.policy)
        self.critics = [critic_of(sac.critic, e) for e in range(config.critics)]
        self.targets, self.target_encoder = copy.deepcopy(self.critics), copy.deepcopy(self.encoder)
        self.ema = copy.deepcopy((self.encoder, self.actor))
        self.log_alpha = sac.log_temperature.detach().double().clone().requires_grad_()
        self.adam = {
            "critic": Adam([p for q in self.critics for p in free(q)], config.critic_lr),
            "encoder": Adam(list(self.encoder.parameters()), config.encoder_lr),
            "actor": Adam(free(self.actor), config.actor_lr),
            "alpha": Adam([self.log_alpha], config.temperature_lr),
        }

    def vectors(self, observation, noise):
        x = (torch.from_numpy(observation[STATE]).double() - self.mean) / self.std
        return x.clamp(-self.c.input_clip, self.c.input_clip) + self.c.input_noise * noise

    def gaussian(self, s):
        mean, log_std = self.actor(s).split(ACTION, -1)
        return Normal(mean, log_std.clamp(math.log(self.c.std_min), math.log(self.c.std_max)).exp())

    def sample(self, s, noise):
        normal = self.gaussian(s)
        action = torch.tanh(normal.loc + normal.scale * noise)
        squashed = TransformedDistribution(normal, [TanhTransform(cache_size=1)])
        return action, Independent(squashed, 1).log_prob(action)

    def fit(self, s, action):
        """Mean -log pi(a|s), the standard deviation not fitted."""
        normal = self.gaussian(s)
        fitted = TransformedDistribution(Normal(normal.loc, normal.scale.detach()), [TanhTransform()])
        edge = self.c.action_edge
        return -Independent(fitted, 1).log_prob(action.clamp(-1 + edge, 1 - edge)).mean()

    def clone(self, b, draws):
        v = self.vectors(b.observation, draws["clone_observation"].double())
        loss = self.fit(torch.cat([v, self.encoder(b.observation)], -1), torch.from_numpy(b.action).double())
        parameters = free(self.actor) + list(self.encoder.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        self.adam["actor"].step(gradients[: len(free(self.actor))])
        self.adam["encoder"].step(gradients[len(free(self.actor)) :])
        self.target_encoder, self.ema = copy.deepcopy(self.encoder), copy.deepcopy((self.encoder, self.actor))

    def update(self, b, draws):
        c, draws = self.c, {k: v.double() for k, v in draws.items()}
        a, reward, discount = (torch.from_numpy(v).double() for v in (b.action, b.reward, b.discount))
        human = torch.from_numpy(b.human)
        v = self.vectors(b.observation, draws["observation"])
        v2 = self.vectors(b.next_observation, draws["next_observation"])
        with torch.no_grad():
            a2, _ = self.sample(torch.cat([v2, self.encoder(b.next_observation)], -1), draws["next_action"])
            seen = (self.target_encoder if c.target_encoder else self.encoder)(b.next_observation)
            x = torch.cat([v2, seen, a2], -1)
            y = (reward + discount * torch.stack([t(x)[:, 0] for t in self.targets]).amin(0)).clamp(0, 1)
        s = torch.cat([v, self.encoder(b.observation)], -1)
        critic_loss = sum(((q(torch.cat([s, a], -1))[:, 0] - y) ** 2).mean() for q in self.critics)
        weight = c.clone_weight * math.exp(-self.updates / c.clone_decay_updates)
        encoder_loss = critic_loss + (weight * self.fit(s[human], a[human]) if c.clone_encoder else 0)
        gradients = {
            "critic": torch.autograd.grad(critic_loss, self.adam["critic"].parameters, retain_graph=True),
            "encoder": torch.autograd.grad(encoder_loss, self.adam["encoder"].parameters),
        }
        self.adam["critic"].step(gradients["critic"])
        s = s.detach()
        new_action, log_prob = self.sample(s, draws["action"])
        q = torch.stack([q(torch.cat([s, new_action], -1))[:, 0] for q in self.critics]).mean(0)
        actor_loss = (self.log_alpha.exp().detach() * log_prob - q).mean()
        total = actor_loss + weight * self.fit(s[human], a[human])
        gradients["actor"] = torch.autograd.grad(total, self.adam["actor"].parameters)
        alpha_loss = (-self.log_alpha.exp() * (log_prob.detach() + c.target_entropy_per_action * ACTION)).mean()
        gradients["alpha"] = torch.autograd.grad(alpha_loss, [self.log_alpha])
        for name in ("encoder", "actor", "alpha"):
            self.adam[name].step(gradients[name])
        follow(self.targets, self.critics, c.tau)
        follow([self.target_encoder], [self.encoder], c.tau)
        follow(self.ema, (self.encoder, self.actor), c.ema)
        self.updates += 1
        return {"critic_loss": critic_loss / c.critics, "actor_loss": actor_loss, "target_mean": y.mean()}, gradients


@torch.no_grad()
def follow(averages, modules, share):
    for average, module in zip(averages, modules, strict=True):
        for t, p in zip(average.parameters(), module.parameters(), strict=True):
            t.copy_((1 - share) * t + share * p)


def free(network):
    """Parameters of an MLP without LayerNorm's gain, which ours has not."""
    return [p for i, layer in enumerate(network) for n, p in layer.named_parameters() if (i, n) != (1, "weight")]


def encoder_of(ours):
    reference = ReferenceEncoder().double()
    convolutions = [layer for layer in ours.stacks[0] if isinstance(layer, nn.Conv2d)]
    theirs = (*convolutions, ours.linear, ours.norm)
    for mine, layer in zip((*reference.conv, reference.linear, reference.norm), theirs, strict=True):
        mine.load_state_dict(layer.state_dict())
    return reference


@torch.no_grad()
def actor_of(policy):
    actor = mlp(VECTOR + ENCODED, 2 * ACTION)
    values = (policy.layers[0].weight, policy.layers[0].bias, policy.offsets[0], policy.head.weight, policy.head.bias)
    for p, value in zip(free(actor), values, strict=True):
        p.copy_(value)
    return actor


@torch.no_grad()
def critic_of(ours, e):
    critic = mlp(VECTOR + ENCODED + ACTION, 1)
    hidden = (ours.weights[0][e].T, ours.biases[0][e, 0], ours.offsets[0][e, 0])
    for p, value in zip(free(critic), (*hidden, ours.out_weight[e], ours.out_bias[e]), strict=True):
        p.copy_(value.view(p.shape))
    return critic


def gradients_as_parameters(module):
    twin = copy.deepcopy(module)
    for p, q in zip(twin.parameters(), module.parameters(), strict=True):
        p.data.copy_(q.grad)
    return twin


def close(left, right, what):
    for p, q in zip(left, right, strict=True):
        torch.testing.assert_close(
            p.detach().double(), q.detach().double(), atol=1e-5, rtol=1e-5, msg=lambda m: f"{what}: {m}"
        )


BASE = SACConfig(
    hidden=(WIDE,),
    batch_size=BATCH,
    encoder_size=ENCODED,
    clone_weight=0.3,
    clone_decay_updates=5.0,
    critic_warmup_updates=0,
    actor_lr=1e-3,
    critic_lr=2e-3,
    encoder_lr=5e-4,
    temperature_lr=3e-3,
    temperature_init=0.1,
    tau=0.05,
    ema=0.1,
)
CASES = [{"target_encoder": t, "clone_encoder": c} for t in (False, True) for c in (False, True)]


@pytest.mark.parametrize("changes", CASES, ids=str)
def test_cloning_and_three_updates_agree_with_the_reference(changes):
    config = replace(BASE, **changes)
    sac = build_algorithm(contract(), config, device="cpu", seed=3)
    rng = np.random.default_rng(9)
    sac.freeze_statistics({STATE: (rng.standard_normal(FRAME), 0.5 + rng.random(FRAME))})
    reference, noise = Reference(sac, config), sac.noise
    sac.noise = Recorder(noise)
    sac.clone(batch(100))
    reference.clone(batch(100), sac.noise.draws)
    for i in range(3):
        sac.noise = Recorder(noise)
        metrics = sac.update(batch(i))
        expected, gradients = reference.update(batch(i), sac.noise.draws)
        for name, value in expected.items():
            torch.testing.assert_close(metrics[name].double(), value.detach(), atol=1e-5, rtol=1e-5)
        graded = gradients_as_parameters(sac.critic)
        ours = [p for e in range(config.critics) for p in free(critic_of(graded, e))]
        close(ours, gradients["critic"], "critic gradients")
        graded = gradients_as_parameters(sac.policy)
        close(encoder_of(graded.encoder).parameters(), gradients["encoder"], "encoder gradients")
        close(free(actor_of(graded)), gradients["actor"], "actor gradients")
    close(encoder_of(sac.policy.encoder).parameters(), reference.encoder.parameters(), "encoder")
    if config.target_encoder:
        close(encoder_of(sac.encoder.target).parameters(), reference.target_encoder.parameters(), "target encoder")
    close(free(actor_of(sac.policy)), free(reference.actor), "actor")
    for e in range(config.critics):
        close(free(critic_of(sac.critic, e)), free(reference.critics[e]), "critic")
        close(free(critic_of(sac.target, e)), free(reference.targets[e]), "target")
    close(encoder_of(sac.ema_policy.encoder).parameters(), reference.ema[0].parameters(), "average of the encoder")
    close(free(actor_of(sac.ema_policy)), free(reference.ema[1]), "average of the actor")
    close([sac.log_temperature], [reference.log_alpha], "temperature")


def test_the_cases_differ():
    """Each setting under test changes the encoder: the comparison would notice if it were ignored."""
    results = []
    for changes in CASES:
        sac = build_algorithm(contract(), replace(BASE, **changes), device="cpu", seed=3)
        for i in range(3):
            sac.update(batch(i))
        results.append(sac.policy.encoder.linear.weight.detach().clone())
    assert all((a - b).abs().max() > 1e-6 for i, a in enumerate(results) for b in results[i + 1 :])
