"""SAC against a reference written from the papers: SAC (1812.05905), RLPD (2302.02948), Adam (1412.6980).

The reference keeps every critic as nn.Linear and nn.LayerNorm of its own, uses torch.distributions for the policy and
its own Adam, and imports nothing of ours but the settings.
"""

import copy
import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from learner.algorithms import SACConfig, build_algorithm

OBSERVATION, ACTION, BATCH, HIDDEN = 5, 3, 32, (24, 16)
NAME = "observation.state"


def contract():
    interface = Interface(
        "t",
        (Feature(NAME, "float32", (OBSERVATION,)),),
        Feature("action", "float32", (ACTION,), low=(-1.0,), high=(1.0,)),
        reward=RewardBounds(True, 0.0, 1.0, True),
    )
    return Contract(interface, View((FeatureView(NAME),)))


def batch(seed, n_step=1, gamma=0.97):
    rng = np.random.default_rng(seed)
    k = rng.integers(1, n_step + 1, BATCH)
    terminated = rng.random(BATCH) < 0.2
    action = np.tanh(rng.standard_normal((BATCH, ACTION))).astype(np.float32)
    action[:4] = np.sign(action[:4])
    return SimpleNamespace(
        observation={NAME: 2 * rng.standard_normal((BATCH, OBSERVATION)).astype(np.float32)},
        next_observation={NAME: 2 * rng.standard_normal((BATCH, OBSERVATION)).astype(np.float32)},
        action=action,
        reward=(rng.random(BATCH) * 1.5 - 0.3).astype(np.float32),
        discount=(gamma**k * ~terminated).astype(np.float32),
        human=rng.random(BATCH) < 0.4,
        demonstration=np.zeros(BATCH, bool),
    )


class Recorder:
    """The algorithm's own random numbers, kept for the reference."""

    def __init__(self, noise):
        self.noise, self.draws = noise, {}

    def normal(self, name, shape):
        return self.draws.setdefault(name, self.noise.normal(name, shape)).clone()

    def subset(self, name, size, chosen):
        return self.draws.setdefault(name, self.noise.subset(name, size, chosen))


class Mlp(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        sizes = (inputs, *HIDDEN)
        self.linear = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.norm = nn.ModuleList(nn.LayerNorm(o) for o in HIDDEN)
        for norm in self.norm:
            norm.weight.requires_grad_(False)
        self.out = nn.Linear(HIDDEN[-1], outputs)

    def forward(self, x):
        for linear, norm in zip(self.linear, self.norm, strict=True):
            x = torch.relu(norm(linear(x)))
        return self.out(x)


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
    """One critic at a time, in float64."""

    def __init__(self, sac, config):
        self.c = config
        self.actor = Mlp(OBSERVATION, 2 * ACTION).double()
        self.critics = [Mlp(OBSERVATION + ACTION, 1).double() for _ in range(config.critics)]
        self.mean, self.std = sac.policy.normalizer.mean.double(), sac.policy.normalizer.std.double()
        self.log_alpha = sac.log_temperature.detach().double().clone().requires_grad_()
        self.updates = 0
        copy_policy(sac.policy, self.actor)
        for e, critic in enumerate(self.critics):
            copy_critic(sac.critic, e, critic)
        self.targets, self.ema = copy.deepcopy(self.critics), copy.deepcopy(self.actor)
        self.critic_parameters = [p for c in self.critics for p in trainable(c)]
        self.critic_adam = Adam(self.critic_parameters, config.critic_lr)
        self.actor_adam = Adam(trainable(self.actor), config.actor_lr)
        self.alpha_adam = Adam([self.log_alpha], config.temperature_lr)

    def inputs(self, observation, noise):
        x = (torch.from_numpy(observation[NAME]).double() - self.mean) / self.std
        return x.clamp(-self.c.input_clip, self.c.input_clip) + self.c.input_noise * noise

    def distribution(self, x):
        mean, log_std = self.actor(x).split(ACTION, -1)
        normal = Normal(mean, log_std.clamp(math.log(self.c.std_min), math.log(self.c.std_max)).exp())
        return normal, Independent(TransformedDistribution(normal, [TanhTransform(cache_size=1)]), 1)

    def sample(self, x, noise):
        normal, squashed = self.distribution(x)
        u = normal.loc + normal.scale * noise
        action = squashed.base_dist.transforms[0](u)
        return action, squashed.log_prob(action)

    def recorded(self, x, action):
        edge = self.c.action_edge
        normal, squashed = self.distribution(x)
        if not self.c.clone_std:
            frozen = Normal(normal.loc, normal.scale.detach())
            squashed = Independent(TransformedDistribution(frozen, [TanhTransform()]), 1)
        return squashed.log_prob(action.clamp(-1 + edge, 1 - edge))

    def reduce(self, values, how):
        return values.min(0).values if how == "min" else values.mean(0)

    def update(self, b, draws):
        c = self.c
        draws = {k: v.double() if v.is_floating_point() else v for k, v in draws.items()}
        zero = torch.zeros(())
        s = self.inputs(b.observation, draws.get("observation", zero))
        s2 = self.inputs(b.next_observation, draws.get("next_observation", zero))
        a, reward, discount = (torch.from_numpy(v).double() for v in (b.action, b.reward, b.discount))
        with torch.no_grad():
            a2, log_prob2 = self.sample(s2, draws["next_action"])
            targets = [self.targets[int(i)] for i in draws.get("critics", range(c.critics))]
            value = self.reduce(torch.stack([t(torch.cat([s2, a2], -1))[:, 0] for t in targets]), c.target_reduce)
            if c.entropy_backup:
                value = value - self.log_alpha.exp() * log_prob2
            y = reward + discount * value
            if c.clamp_targets and not c.entropy_backup:
                y = y.clamp(0.0, 1.0)
        critic_loss = sum(((q(torch.cat([s, a], -1))[:, 0] - y) ** 2).mean() for q in self.critics)
        critic_gradients = torch.autograd.grad(critic_loss, self.critic_parameters)
        self.critic_adam.step(critic_gradients)
        with torch.no_grad():
            for critic, target in zip(self.critics, self.targets, strict=True):
                for p, t in zip(critic.parameters(), target.parameters(), strict=True):
                    t.copy_((1 - c.tau) * t + c.tau * p)
        new_action, log_prob = self.sample(s, draws["action"])
        q = self.reduce(torch.stack([q(torch.cat([s, new_action], -1))[:, 0] for q in self.critics]), c.actor_reduce)
        actor_loss = (self.log_alpha.exp().detach() * log_prob - q).mean()
        total = actor_loss
        if c.clone_weight:
            human = torch.from_numpy(b.human)
            weight = c.clone_weight * math.exp(-self.updates / c.clone_decay_updates)
            total = total - weight * self.recorded(s[human], a[human]).mean()
        actor_gradients = torch.autograd.grad(total, trainable(self.actor))
        self.actor_adam.step(actor_gradients)
        with torch.no_grad():
            for p, e in zip(self.actor.parameters(), self.ema.parameters(), strict=True):
                e.copy_((1 - c.ema) * e + c.ema * p)
        target_entropy = c.target_entropy_per_action * ACTION
        alpha_loss = (-self.log_alpha.exp() * (log_prob.detach() + target_entropy)).mean()
        self.alpha_adam.step(torch.autograd.grad(alpha_loss, [self.log_alpha]))
        self.updates += 1
        return (
            {"critic_loss": critic_loss / c.critics, "actor_loss": actor_loss, "target_mean": y.mean()},
            critic_gradients,
            actor_gradients,
        )


def trainable(module):
    return [p for p in module.parameters() if p.requires_grad]


@torch.no_grad()
def copy_policy(ours, reference):
    for i in range(len(HIDDEN)):
        reference.linear[i].weight.copy_(ours.layers[i].weight)
        reference.linear[i].bias.copy_(ours.layers[i].bias)
        reference.norm[i].bias.copy_(ours.offsets[i])
    reference.out.weight.copy_(ours.head.weight)
    reference.out.bias.copy_(ours.head.bias)


@torch.no_grad()
def copy_critic(ours, e, reference):
    for i in range(len(HIDDEN)):
        reference.linear[i].weight.copy_(ours.weights[i][e].T)
        reference.linear[i].bias.copy_(ours.biases[i][e, 0])
        reference.norm[i].bias.copy_(ours.offsets[i][e, 0])
    reference.out.weight.copy_(ours.out_weight[e])
    reference.out.bias.copy_(ours.out_bias[e])


def critic_as_reference(ensemble, e):
    critic = Mlp(OBSERVATION + ACTION, 1).double()
    copy_critic(ensemble, e, critic)
    return critic


def policy_as_reference(policy):
    actor = Mlp(OBSERVATION, 2 * ACTION).double()
    copy_policy(policy, actor)
    return actor


def gradients_as_parameters(module):
    """A copy of a module whose parameters are its gradients, so that one mapping serves both."""
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for p, q in zip(twin.parameters(), module.parameters(), strict=True):
            p.copy_(q.grad)
    return twin


def moments_as_parameters(optimizer, module, name):
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for p, q in zip(twin.parameters(), module.parameters(), strict=True):
            p.copy_(optimizer.state[q][name])
    return twin


def close(left, right, what):
    for p, q in zip(left, right, strict=True):
        torch.testing.assert_close(
            p.detach().double(), q.detach().double(), atol=1e-5, rtol=1e-5, msg=lambda m: f"{what}: {m}"
        )


BASE = SACConfig(
    hidden=HIDDEN,
    batch_size=BATCH,
    n_step=1,
    clone_weight=0.0,
    input_noise=0.0,
    clamp_targets=False,
    critic_warmup_updates=0,
    actor_lr=1e-3,
    critic_lr=1e-3,
    temperature_lr=3e-3,
    temperature_init=0.1,
    tau=0.05,
    ema=0.1,
)
CASES = {
    "plain": {},
    "target mean, actor min": {"target_reduce": "mean", "actor_reduce": "min"},
    "entropy backup": {"entropy_backup": True},
    "entropy backup is never clamped": {"entropy_backup": True, "clamp_targets": True},
    "n-step": {"n_step": 3, "gamma": 0.9},
    "clamped": {"clamp_targets": True},
    "cloning term": {"clone_weight": 1.0, "clone_decay_updates": 2.0},
    "cloning term with std": {"clone_weight": 0.5, "clone_std": True},
    "input noise": {"input_noise": 0.1},
    "ten critics, min of a random two": {"critics": 10, "critic_subset": 2},
    "target entropy": {"target_entropy_per_action": -0.5},
    "the lift's": {"clamp_targets": True, "n_step": 3, "clone_weight": 1.0, "input_noise": 0.1},
}


@pytest.mark.parametrize("case", CASES)
def test_three_updates_agree_with_the_reference(case):
    config = replace(BASE, **CASES[case])
    sac = build_algorithm(contract(), config, device="cpu", seed=3)
    rng = np.random.default_rng(9)
    sac.freeze_statistics({NAME: (rng.standard_normal(OBSERVATION), 0.5 + rng.random(OBSERVATION))})
    reference = Reference(sac, config)
    noise = sac.noise
    for i in range(3):
        sac.noise = Recorder(noise)
        b = batch(i, config.n_step, config.gamma)
        metrics = sac.update(b)
        expected, critic_gradients, actor_gradients = reference.update(b, sac.noise.draws)
        for name, value in expected.items():
            torch.testing.assert_close(metrics[name].double(), value.detach(), atol=1e-5, rtol=1e-5)
        graded = gradients_as_parameters(sac.critic)
        ours = [p for e in range(config.critics) for p in trainable(critic_as_reference(graded, e))]
        close(ours, critic_gradients, "critic gradients")
        close(trainable(policy_as_reference(gradients_as_parameters(sac.policy))), actor_gradients, "actor gradients")
    for e in range(config.critics):
        close(critic_as_reference(sac.critic, e).parameters(), reference.critics[e].parameters(), "critic")
        close(critic_as_reference(sac.target, e).parameters(), reference.targets[e].parameters(), "target")
    close(policy_as_reference(sac.policy).parameters(), reference.actor.parameters(), "actor")
    close(policy_as_reference(sac.ema_policy).parameters(), reference.ema.parameters(), "moving average")
    close([sac.log_temperature], [reference.log_alpha], "temperature")
    for moment, wanted in (("exp_avg", "m"), ("exp_avg_sq", "v")):
        twin = moments_as_parameters(sac._critic_adam, sac.critic, moment)
        ours = [p for e in range(config.critics) for p in trainable(critic_as_reference(twin, e))]
        close(ours, getattr(reference.critic_adam, wanted), f"critic Adam {moment}")
        twin = moments_as_parameters(sac._policy_adam, sac.policy, moment)
        close(trainable(policy_as_reference(twin)), getattr(reference.actor_adam, wanted), f"actor Adam {moment}")


def test_the_cases_differ():
    """Each setting under test changes the result: the comparison would notice if it were ignored."""
    results = {}
    for case, changes in CASES.items():
        if case in ("entropy backup is never clamped",):
            continue
        config = replace(BASE, **changes)
        sac = build_algorithm(contract(), config, device="cpu", seed=3)
        for i in range(3):
            sac.update(batch(i, config.n_step, config.gamma))
        tensors, _ = sac.state()
        results[case] = torch.cat([tensors["policy.head.weight"].ravel(), tensors["log_temperature"]])
    cases = list(results)
    for i, left in enumerate(cases):
        for right in cases[i + 1 :]:
            assert (results[left] - results[right]).abs().max() > 1e-7, (left, right)
