"""SAC on images against a reference written from the papers: SAC (1812.05905), RLPD (2302.02948), HIL-SERL.

In float64: an encoder of plain convolutions over x / 255 - 0.5, every gradient taken from its written loss by autograd,
and Adam (1412.6980). Nothing of ours is imported but the settings.
"""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from learner.algorithms import SACConfig, build_algorithm
from tests.learner.reference import Adam, Recorder, close, close_losses, follow, gradients
from tests.learner.sac_reference import SquashedPolicy, actor_of, critics_of, trainable

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


class Reference(SquashedPolicy):
    def __init__(self, sac, config):
        super().__init__(sac, config, actor_of(sac.policy))
        self.encoder = encoder_of(sac.policy.encoder)
        self.critics = critics_of(sac.critic)
        self.targets, self.target_encoder = copy.deepcopy(self.critics), copy.deepcopy(self.encoder)
        self.ema = copy.deepcopy((self.encoder, self.actor))
        self.adam = {
            "critic": Adam(trainable(*self.critics), config.critic_lr),
            "encoder": Adam(trainable(self.encoder), config.encoder_lr),
            "actor": Adam(trainable(self.actor), config.actor_lr),
            "alpha": Adam([self.log_alpha], config.temperature_lr),
        }

    def clone(self, b, draws):
        v = self.vectors(b.observation[STATE], draws["clone_observation"].double())
        s = torch.cat([v, self.encoder(b.observation)], -1)
        loss = -self.recorded(s, torch.from_numpy(b.action).double()).mean()
        gradients = torch.autograd.grad(loss, trainable(self.actor, self.encoder))
        count = len(trainable(self.actor))
        self.adam["actor"].step(gradients[:count])
        self.adam["encoder"].step(gradients[count:])
        self.target_encoder, self.ema = copy.deepcopy(self.encoder), copy.deepcopy((self.encoder, self.actor))

    def update(self, b, draws):
        c, draws = self.c, {k: v.double() for k, v in draws.items()}
        a, reward, discount = (torch.from_numpy(v).double() for v in (b.action, b.reward, b.discount))
        human = torch.from_numpy(b.human)
        v = self.vectors(b.observation[STATE], draws["observation"])
        v2 = self.vectors(b.next_observation[STATE], draws["next_observation"])
        with torch.no_grad():
            a2, _ = self.sample(torch.cat([v2, self.encoder(b.next_observation)], -1), draws["next_action"])
            seen = (self.target_encoder if c.target_encoder else self.encoder)(b.next_observation)
            x = torch.cat([v2, seen, a2], -1)
            y = (reward + discount * torch.stack([t(x)[:, 0] for t in self.targets]).amin(0)).clamp(0, 1)
        s = torch.cat([v, self.encoder(b.observation)], -1)
        critic_loss = sum(((q(torch.cat([s, a], -1))[:, 0] - y) ** 2).mean() for q in self.critics)
        weight = c.clone_weight * math.exp(-self.updates / c.clone_decay_updates)
        encoder_loss = critic_loss - (weight * self.recorded(s[human], a[human]).mean() if c.clone_encoder else 0)
        gradients = {
            "critic": torch.autograd.grad(critic_loss, self.adam["critic"].parameters, retain_graph=True),
            "encoder": torch.autograd.grad(encoder_loss, self.adam["encoder"].parameters),
        }
        self.adam["critic"].step(gradients["critic"])
        s = s.detach()
        new_action, log_prob = self.sample(s, draws["action"])
        q = torch.stack([q(torch.cat([s, new_action], -1))[:, 0] for q in self.critics]).mean(0)
        actor_loss = (self.log_alpha.exp().detach() * log_prob - q).mean()
        total = actor_loss - weight * self.recorded(s[human], a[human]).mean()
        gradients["actor"] = torch.autograd.grad(total, self.adam["actor"].parameters)
        gradients["alpha"] = torch.autograd.grad(self.temperature_loss(log_prob), [self.log_alpha])
        for name in ("encoder", "actor", "alpha"):
            self.adam[name].step(gradients[name])
        follow(self.targets, self.critics, c.tau)
        follow([self.target_encoder], [self.encoder], c.tau)
        follow(self.ema, (self.encoder, self.actor), c.ema)
        self.updates += 1
        return {"critic_loss": critic_loss / c.critics, "actor_loss": actor_loss, "target_mean": y.mean()}, gradients


def encoder_of(ours):
    reference = ReferenceEncoder().double()
    convolutions = [layer for layer in ours.stacks[0] if isinstance(layer, nn.Conv2d)]
    theirs = (*convolutions, ours.linear, ours.norm)
    for mine, layer in zip((*reference.conv, reference.linear, reference.norm), theirs, strict=True):
        mine.load_state_dict(layer.state_dict())
    return reference


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
        losses, wanted = reference.update(batch(i), sac.noise.draws)
        close_losses(metrics, losses)
        close(trainable(*critics_of(gradients(sac.critic))), wanted["critic"], "critic gradients")
        policy = gradients(sac.policy)
        close(trainable(encoder_of(policy.encoder)), wanted["encoder"], "encoder gradients")
        close(trainable(actor_of(policy)), wanted["actor"], "actor gradients")
    close(trainable(encoder_of(sac.policy.encoder)), trainable(reference.encoder), "encoder")
    if config.target_encoder:
        close(trainable(encoder_of(sac.encoder.target)), trainable(reference.target_encoder), "target encoder")
    close(trainable(actor_of(sac.policy)), trainable(reference.actor), "actor")
    close(trainable(*critics_of(sac.critic)), trainable(*reference.critics), "critic")
    close(trainable(*critics_of(sac.target)), trainable(*reference.targets), "target")
    close(trainable(encoder_of(sac.ema_policy.encoder)), trainable(reference.ema[0]), "average of the encoder")
    close(trainable(actor_of(sac.ema_policy)), trainable(reference.ema[1]), "average of the actor")
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
