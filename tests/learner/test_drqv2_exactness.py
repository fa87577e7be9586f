"""DrQ-v2 against a reference written from the paper's equations (arXiv 2107.09645, section 4.1) and Adam (1412.6980).

The reference has an encoder, an actor and two critics of plain nn modules in float64, one optimiser a network as the
authors have, and its own Adam; it imports nothing of ours but the settings.
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
from learner.algorithms import build_algorithm
from learner.algorithms.drqv2_config import DrQv2Config

STATE, IMAGE = "observation.state", "observation.images.front"
FRAME, STACK, SIZE, ACTION, BATCH, HIDDEN, TRUNK = 5, 3, 21, 3, 24, (32, 24), 10
VECTOR = FRAME * STACK


def contract(*, images=True, vectors=True):
    features = [Feature(STATE, "float32", (FRAME,))] * vectors + [Feature(IMAGE, "uint8", (SIZE, SIZE, 3))] * images
    interface = Interface(
        "t",
        tuple(features),
        Feature("action", "float32", (ACTION,), low=(-1.0,), high=(1.0,)),
        reward=RewardBounds(True, 0.0, 1.0, True),
    )
    return Contract(interface, View(tuple(FeatureView(f.name, stack=STACK) for f in features)))


def batch(seed, n_step=3, gamma=0.99):
    rng = np.random.default_rng(seed)
    k = rng.integers(1, n_step + 1, BATCH)
    action = rng.uniform(-1, 1, (BATCH, ACTION)).astype(np.float32)
    action[:4] = np.sign(action[:4])

    def observation():
        return {
            STATE: 2 * rng.standard_normal((BATCH, VECTOR)).astype(np.float32),
            IMAGE: rng.integers(0, 256, (BATCH, SIZE, SIZE, 3 * STACK), np.uint8),
        }

    return SimpleNamespace(
        observation=observation(),
        next_observation=observation(),
        action=action,
        reward=(rng.random(BATCH) * 1.5 - 0.3).astype(np.float32),
        discount=(gamma**k * (rng.random(BATCH) > 0.2)).astype(np.float32),
        human=rng.random(BATCH) < 0.4,
        demonstration=np.zeros(BATCH, bool),
    )


class Recorder:
    """The algorithm's own random numbers, kept for the reference."""

    def __init__(self, noise):
        self.noise, self.draws = noise, {}

    def normal(self, name, shape):
        return self.draws.setdefault(name, self.noise.normal(name, shape)).clone()


def perceptron(inputs, outputs):
    a, b = HIDDEN
    return nn.Sequential(nn.Linear(inputs, a), nn.ReLU(), nn.Linear(a, b), nn.ReLU(), nn.Linear(b, outputs))


class Networks(nn.Module):
    """The paper's figure 1 with vectors beside the trunks' outputs; float64."""

    def __init__(self, images, vectors):
        super().__init__()
        self.images, self.vectors = images, vectors
        self.encoder = nn.Sequential(
            *(nn.Conv2d(9, 32, 3, stride=2), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU()),
        )
        flat = self.encoder(torch.zeros(1, 9, SIZE, SIZE)).numel()
        seen = VECTOR * vectors + TRUNK * images
        self.actor_trunk = nn.Sequential(nn.Linear(flat, TRUNK), nn.LayerNorm(TRUNK), nn.Tanh())
        self.actor_head = perceptron(seen, ACTION)
        self.critic_trunk = nn.Sequential(nn.Linear(flat, TRUNK), nn.LayerNorm(TRUNK), nn.Tanh())
        self.q = nn.ModuleList(perceptron(seen + ACTION, 1) for _ in range(2))
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
        return [*(self.actor_trunk.parameters() if self.images else []), *self.actor_head.parameters()]

    def of_critic(self):
        return [*(self.critic_trunk.parameters() if self.images else []), *self.q.parameters()]

    def of_encoder(self):
        return list(self.encoder.parameters()) if self.images else []

    def of_all(self):
        return [*self.of_actor(), *self.of_critic(), *self.of_encoder()]


class Adam:
    """Algorithm 1 of arXiv 1412.6980.

    Attributes:
        faint: Where a gradient was zero but for rounding: Adam divides it by its own size, and steps by its sign.
    """

    def __init__(self, parameters, lr):
        self.parameters, self.lr, self.t = parameters, lr, 0
        self.m = [torch.zeros_like(p) for p in parameters]
        self.v = [torch.zeros_like(p) for p in parameters]
        self.faint = [torch.zeros_like(p, dtype=torch.bool) for p in parameters]

    @torch.no_grad()
    def step(self, gradients):
        self.t += 1
        for p, g, m, v, faint in zip(self.parameters, gradients, self.m, self.v, self.faint, strict=True):
            faint |= (g != 0) & (g.abs() < 1e-6)
            m.copy_(0.9 * m + 0.1 * g)
            v.copy_(0.999 * v + 0.001 * g**2)
            p -= self.lr * (m / (1 - 0.9**self.t)) / ((v / (1 - 0.999**self.t)).sqrt() + 1e-8)


def gradients_of(loss, parameters):
    return list(torch.autograd.grad(loss, parameters, retain_graph=True)) if parameters else []


class Reference:
    def __init__(self, ours, config, *, images, vectors, warm_until=0, start=1.0):
        self.c, self.start, self.warm_until, self.updates = config, start, warm_until, 0
        self.net = networks_of(ours.policy, ours.critic, images, vectors)
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
def networks_of(policy, critic, images, vectors):
    """Our networks as the reference's. Ours flatten a feature map by pixels, the paper's by channels."""
    net = Networks(images, vectors)
    order = []
    if images:
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


def twin(module, of):
    """A copy of a module whose parameters are ``of`` each of its own, so that one mapping serves all."""
    copied = copy.deepcopy(module)
    with torch.no_grad():
        for p, q in zip(copied.parameters(), module.parameters(), strict=True):
            p.copy_(of(q))
    return copied


def close(left, right, what):
    for p, q in zip(left, right, strict=True):
        torch.testing.assert_close(
            p.detach().double(), q.detach().double(), atol=1e-5, rtol=1e-5, msg=lambda m: f"{what}: {m}"
        )


def close_after_adam(left, right, adams, what):
    """To 1e-5, and within the steps made where a gradient was faint, which is rare."""
    faint = [f for adam in adams for f in adam.faint]
    assert sum(int(f.sum()) for f in faint) < 0.01 * sum(f.numel() for f in faint)
    steps = [adam.t * adam.lr for adam in adams for _ in adam.faint]
    for p, q, unsure, most in zip(left, right, faint, steps, strict=True):
        close([torch.where(unsure, q, p)], [q], what)
        assert ((p - q).abs()[unsure] <= 2.1 * most).all(), what


BASE = DrQv2Config(
    hidden=HIDDEN,
    trunk_size=TRUNK,
    batch_size=BATCH,
    critic_warmup_updates=0,
    tau=0.05,
    std_decay_steps=20,
)
CASES = {
    "as published": {},
    "vectors only": {"images": False},
    "images only": {"vectors": False},
    "little noise, never clipped": {"std_start": 0.05, "std_end": 0.01},
    "noise clipped at once": {"noise_clip": 0.02},
    "n-step 1": {"n_step": 1, "gamma": 0.9},
    "clamped": {"clamp_targets": True},
    "input noise": {"input_noise": 0.1},
    "actor every second update": {"actor_every": 2},
    "cloning term": {"clone_weight": 1.0, "clone_decay_updates": 2.0},
    "cloning term of vectors only": {"clone_weight": 0.5, "images": False},
    "three learning rates": {"critic_lr": 3e-4, "actor_lr": 2e-4, "encoder_lr": 5e-5},
    "moving average": {"ema": 0.1},
    "critic warm-up": {"critic_warmup_updates": 2},
    "with a person": {"clone_weight": 1.0, "clamp_targets": True, "input_noise": 0.1, "ema": 0.05},
}


def start(case):
    """Algorithm, settings and which inputs it has, as learning starts."""
    changes = dict(CASES[case])
    inputs = {name: changes.pop(name, True) for name in ("images", "vectors")}
    config = replace(BASE, **changes)
    ours = build_algorithm(contract(**inputs), config, device="cpu", seed=3)
    if inputs["vectors"]:
        rng = np.random.default_rng(9)
        ours.freeze_statistics({STATE: (rng.standard_normal(FRAME), 0.5 + rng.random(FRAME))})
    if config.critic_warmup_updates:
        ours.clone(batch(99))
    return ours, config, inputs


@pytest.mark.parametrize("case", CASES)
def test_three_updates_agree_with_the_reference(case):
    ours, config, inputs = start(case)
    warmup = config.critic_warmup_updates
    reference = Reference(
        ours,
        config,
        **inputs,
        warm_until=warmup,
        start=config.std_start_pretrained if warmup else config.std_start,
    )
    if warmup:  # the cloning update that came before has left its moments in both optimisers
        reference.actor_adam, reference.encoder_adam = after_a_clone(ours, reference, config)
    noise = ours.noise
    for i in range(3):
        ours.noise = Recorder(noise)
        b = batch(i, config.n_step, config.gamma)
        metrics = ours.update(b)
        losses, critic_gradients, actor_gradients, encoder_gradients = reference.update(b, ours.noise.draws)
        for name, value in losses.items():
            torch.testing.assert_close(metrics[name].double(), value.detach(), atol=1e-5, rtol=1e-5)
        assert ("actor_loss" in metrics) == ("actor_loss" in losses)
        graded = networks_of(
            twin(ours.policy, lambda p: torch.zeros_like(p) if p.grad is None else p.grad),
            twin(ours.critic, lambda p: p.grad),
            **inputs,
        )
        close(graded.of_critic(), critic_gradients, "critic gradients")
        if actor_gradients is not None:
            close(graded.of_actor(), actor_gradients, "actor gradients")
        if encoder_gradients is not None:
            close(graded.of_encoder(), encoder_gradients, "encoder gradients")
    adams = (reference.actor_adam, reference.critic_adam, reference.encoder_adam)
    updated = networks_of(ours.policy, ours.critic, **inputs)
    close_after_adam(updated.of_all(), reference.net.of_all(), adams, "networks")
    targets = networks_of(ours.policy, ours.target, **inputs)
    close_after_adam(targets.of_critic(), reference.target.of_critic(), adams[1:2], "targets")
    averaged = networks_of(ours.ema_policy, ours.critic, **inputs)
    close_after_adam(
        averaged.of_actor() + averaged.of_encoder(),
        reference.ema.of_actor() + reference.ema.of_encoder(),
        adams[::2],
        "moving average",
    )
    assert ours.policy.std.item() == pytest.approx(reference.sigma())


def after_a_clone(ours, reference, config):
    """The reference's Adam of actor and encoder with one step behind it: m = 0.1 g and v = 0.001 g^2."""

    def moments(name):
        adams = (ours._actor_adam, ours.encoder._adam)
        state = {p: values for adam in adams if adam is not None for p, values in adam.state.items()}
        return networks_of(twin(ours.policy, lambda p: state[p][name]), ours.critic, True, True)

    m, v = moments("exp_avg"), moments("exp_avg_sq")
    found = []
    for of, lr in ((Networks.of_actor, config.actor_lr), (Networks.of_encoder, config.encoder_lr)):
        adam = Adam(of(reference.net), lr)
        adam.t, adam.m, adam.v = 1, [p.detach().clone() for p in of(m)], [p.detach().clone() for p in of(v)]
        for first, second in zip(adam.m, adam.v, strict=True):
            torch.testing.assert_close(second, 0.1 * first**2)
        found.append(adam)
    return found


def test_images_of_the_published_size_agree_too(monkeypatch):
    """84 x 84 pixels, three frames, the trunk of 50 and perceptrons of 1024: losses and gradients of a small batch."""
    for name, value in {"SIZE": 84, "BATCH": 4, "HIDDEN": (1024, 1024), "TRUNK": 50}.items():
        monkeypatch.setitem(globals(), name, value)
    config = DrQv2Config(batch_size=4)
    ours = build_algorithm(contract(), config, device="cpu", seed=1)
    ours.freeze_statistics({STATE: (np.zeros(FRAME), np.ones(FRAME))})
    reference = Reference(ours, config, images=True, vectors=True)
    ours.noise = Recorder(ours.noise)
    b = batch(0)
    metrics = ours.update(b)
    losses, *gradients = reference.update(b, ours.noise.draws)
    for name, value in losses.items():
        torch.testing.assert_close(metrics[name].double(), value.detach(), atol=1e-5, rtol=1e-5)
    graded = networks_of(twin(ours.policy, lambda p: p.grad), twin(ours.critic, lambda p: p.grad), True, True)
    for of, wanted in zip((graded.of_critic, graded.of_actor, graded.of_encoder), gradients, strict=True):
        close(of(), wanted, of.__name__)


def test_a_cloning_update_agrees_with_the_reference():
    ours, config, inputs = start("as published")
    reference = Reference(ours, config, **inputs)
    b, net = batch(5), reference.net
    loss = (
        (
            (
                net.mean(net.encode(b.observation[IMAGE]), reference.inputs(b.observation, torch.zeros(())))
                - torch.from_numpy(b.action).double()
            )
            ** 2
        )
        .sum(1)
        .mean()
    )
    gradients = torch.autograd.grad(loss, [*net.of_actor(), *net.of_encoder()])
    reference.actor_adam.step(gradients[: len(net.of_actor())])
    reference.encoder_adam.step(gradients[len(net.of_actor()) :])
    torch.testing.assert_close(ours.clone(b)["clone_loss"].double(), loss.detach(), atol=1e-5, rtol=1e-5)
    cloned = networks_of(ours.policy, ours.critic, **inputs)
    adams = (reference.actor_adam, reference.critic_adam, reference.encoder_adam)
    close_after_adam(cloned.of_all(), net.of_all(), adams, "networks")


def test_the_cases_differ():
    """Each setting under test changes the result: the comparison would notice if it were ignored."""
    results = {}
    for case in CASES:
        ours, config, _ = start(case)
        for i in range(3):
            ours.update(batch(i, config.n_step, config.gamma))
        tensors, _ = ours.state()
        policy = tensors["policy.head.weight"] + tensors["ema.head.weight"]
        results[case] = torch.cat([policy.ravel(), tensors["critic.weights.2"].ravel()])
    cases = list(results)
    for i, left in enumerate(cases):
        for right in cases[i + 1 :]:
            assert (results[left] - results[right]).abs().max() > 1e-7, (left, right)
