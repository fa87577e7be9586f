"""SAC against a reference written from the papers: SAC (1812.05905), RLPD (2302.02948), Adam (1412.6980).

The reference keeps every critic for itself, and imports nothing of ours but the settings.
"""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from learner.algorithms import SACConfig, build_algorithm
from tests.learner.reference import Adam, Recorder, close, close_losses, follow, gradients, twin
from tests.learner.sac_reference import SquashedPolicy, actor_of, critics_of, trainable

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


class Reference(SquashedPolicy):
    """One critic at a time, in float64."""

    def __init__(self, sac, config):
        super().__init__(sac, config, actor_of(sac.policy))
        self.critics = critics_of(sac.critic)
        self.targets, self.ema = copy.deepcopy(self.critics), copy.deepcopy(self.actor)
        self.critic_adam = Adam(trainable(*self.critics), config.critic_lr)
        self.actor_adam = Adam(trainable(self.actor), config.actor_lr)
        self.alpha_adam = Adam([self.log_alpha], config.temperature_lr)

    def reduce(self, values, how):
        return values.min(0).values if how == "min" else values.mean(0)

    def update(self, b, draws):
        c = self.c
        draws = {k: v.double() if v.is_floating_point() else v for k, v in draws.items()}
        zero = torch.zeros(())
        s = self.vectors(b.observation[NAME], draws.get("observation", zero))
        s2 = self.vectors(b.next_observation[NAME], draws.get("next_observation", zero))
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
        recorded = torch.stack([q(torch.cat([s, a], -1))[:, 0] for q in self.critics])
        critic_loss = sum(((q - y) ** 2).mean() for q in recorded)
        critic_gradients = torch.autograd.grad(critic_loss, self.critic_adam.parameters)
        self.critic_adam.step(critic_gradients)
        follow(self.targets, self.critics, c.tau)
        new_action, log_prob = self.sample(s, draws["action"])
        own = torch.stack([q(torch.cat([s, new_action], -1))[:, 0] for q in self.critics])
        q = self.reduce(own, c.actor_reduce)
        actor_loss = c.q_weight * (self.log_alpha.exp().detach() * log_prob - q).mean()
        total = actor_loss
        if c.clone_weight:
            human = torch.from_numpy(b.human)
            weight = c.clone_weight * math.exp(-self.updates / c.clone_decay_updates)
            counted = human & (recorded.mean(0) > own.mean(0)) if c.clone_filter else human
            total = total - weight * self.recorded(s[counted], a[counted]).sum() / human.sum()
        actor_gradients = torch.autograd.grad(total, self.actor_adam.parameters)
        self.actor_adam.step(actor_gradients)
        follow([self.ema], [self.actor], c.ema)
        self.alpha_adam.step(torch.autograd.grad(self.temperature_loss(log_prob), [self.log_alpha]))
        self.updates += 1
        return (
            {"critic_loss": critic_loss / c.critics, "actor_loss": actor_loss, "target_mean": y.mean()},
            critic_gradients,
            actor_gradients,
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
    "cloning of what the critics prefer": {"clone_weight": 0.5, "clone_filter": True},
    "cloning without value": {"clone_weight": 0.5, "q_weight": 0.0},
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
        losses, critic_gradients, actor_gradients = reference.update(b, sac.noise.draws)
        close_losses(metrics, losses)
        close(trainable(*critics_of(gradients(sac.critic))), critic_gradients, "critic gradients")
        close(trainable(actor_of(gradients(sac.policy))), actor_gradients, "actor gradients")
    close(trainable(*critics_of(sac.critic)), trainable(*reference.critics), "critic")
    close(trainable(*critics_of(sac.target)), trainable(*reference.targets), "target")
    close(trainable(actor_of(sac.policy)), trainable(reference.actor), "actor")
    close(trainable(actor_of(sac.ema_policy)), trainable(reference.ema), "moving average")
    close([sac.log_temperature], [reference.log_alpha], "temperature")
    for moment, wanted in (("exp_avg", "m"), ("exp_avg_sq", "v")):
        moments = twin(sac.critic, lambda p, name=moment: sac._critic_adam.state[p][name])
        close(trainable(*critics_of(moments)), getattr(reference.critic_adam, wanted), f"critic Adam {moment}")
        moments = twin(sac.policy, lambda p, name=moment: sac._actor_adam.state[p][name])
        close(trainable(actor_of(moments)), getattr(reference.actor_adam, wanted), f"actor Adam {moment}")


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


def test_imitation_asks_no_critic():
    """DAgger's labels are all that a person did, whatever the critics think of them."""
    heads = []
    for clone_filter in (True, False):
        config = replace(BASE, clone_weight=0.5, q_weight=0.0, clone_filter=clone_filter)
        sac = build_algorithm(contract(), config, device="cpu", seed=3)
        for i in range(3):
            sac.update(batch(i))
        heads.append(sac.state()[0]["policy.head.weight"])
    assert torch.equal(*heads)
