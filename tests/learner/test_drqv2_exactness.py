"""DrQ-v2 against a reference written from the paper's equations (arXiv 2107.09645, section 4.1) and Adam (1412.6980).

The reference imports nothing of ours but the settings.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from learner.algorithms import build_algorithm
from learner.algorithms.drqv2_config import DrQv2Config
from tests.learner.drqv2_reference import IMAGE, STATE, Networks, Reference, networks_of
from tests.learner.reference import Adam, Recorder, close, close_losses, gradients, twin

FRAME, STACK, SIZE, ACTION, BATCH, HIDDEN, TRUNK = 5, 3, 21, 3, 24, (32, 24), 10


def contract(*, images=True, vectors=True, size=SIZE):
    features = [Feature(STATE, "float32", (FRAME,))] * vectors + [Feature(IMAGE, "uint8", (size, size, 3))] * images
    interface = Interface(
        "t",
        tuple(features),
        Feature("action", "float32", (ACTION,), low=(-1.0,), high=(1.0,)),
        reward=RewardBounds(True, 0.0, 1.0, True),
    )
    return Contract(interface, View(tuple(FeatureView(f.name, stack=STACK) for f in features)))


def batch(seed, n_step=3, gamma=0.99, *, rows=BATCH, size=SIZE):
    rng = np.random.default_rng(seed)
    k = rng.integers(1, n_step + 1, rows)
    action = rng.uniform(-1, 1, (rows, ACTION)).astype(np.float32)
    action[:4] = np.sign(action[:4])

    def observation():
        return {
            STATE: 2 * rng.standard_normal((rows, FRAME * STACK)).astype(np.float32),
            IMAGE: rng.integers(0, 256, (rows, size, size, 3 * STACK), np.uint8),
        }

    return SimpleNamespace(
        observation=observation(),
        next_observation=observation(),
        action=action,
        reward=(rng.random(rows) * 1.5 - 0.3).astype(np.float32),
        discount=(gamma**k * (rng.random(rows) > 0.2)).astype(np.float32),
        human=rng.random(rows) < 0.4,
        demonstration=np.zeros(rows, bool),
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
    "actor every second update": {"actor_every": 2, "ema": 0.1},
    "cloning term": {"clone_weight": 1.0, "clone_decay_updates": 2.0},
    "cloning term of vectors only": {"clone_weight": 0.5, "images": False},
    "three learning rates": {"critic_lr": 3e-4, "actor_lr": 2e-4, "encoder_lr": 5e-5},
    "moving average": {"ema": 0.1},
    "critic warm-up": {"critic_warmup_updates": 2},
    "with a person": {"clone_weight": 1.0, "clamp_targets": True, "input_noise": 0.1, "ema": 0.05},
}


def start(case):
    """Algorithm and settings, as learning starts."""
    changes = dict(CASES[case])
    inputs = {name: changes.pop(name, True) for name in ("images", "vectors")}
    config = replace(BASE, **changes)
    ours = build_algorithm(contract(**inputs), config, device="cpu", seed=3)
    if inputs["vectors"]:
        rng = np.random.default_rng(9)
        ours.freeze_statistics({STATE: (rng.standard_normal(FRAME), 0.5 + rng.random(FRAME))})
    if config.critic_warmup_updates:
        ours.clone(batch(99))
    return ours, config


@pytest.mark.parametrize("case", CASES)
def test_three_updates_agree_with_the_reference(case):
    ours, config = start(case)
    warmup = config.critic_warmup_updates
    reference = Reference(
        ours,
        config,
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
        close_losses(metrics, losses)
        assert ("actor_loss" in metrics) == ("actor_loss" in losses)
        graded = networks_of(gradients(ours.policy), gradients(ours.critic))
        close(graded.of_critic(), critic_gradients, "critic gradients")
        if actor_gradients is not None:
            close(graded.of_actor(), actor_gradients, "actor gradients")
        if encoder_gradients is not None:
            close(graded.of_encoder(), encoder_gradients, "encoder gradients")
    adams = (reference.actor_adam, reference.critic_adam, reference.encoder_adam)
    updated = networks_of(ours.policy, ours.critic)
    close_after_adam(updated.of_all(), reference.net.of_all(), adams, "networks")
    targets = networks_of(ours.policy, ours.target)
    close_after_adam(targets.of_critic(), reference.target.of_critic(), adams[1:2], "targets")
    averaged = networks_of(ours.ema_policy, ours.critic)
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
        return networks_of(twin(ours.policy, lambda p: state[p][name]), ours.critic)

    m, v = moments("exp_avg"), moments("exp_avg_sq")
    found = []
    for of, lr in ((Networks.of_actor, config.actor_lr), (Networks.of_encoder, config.encoder_lr)):
        adam = Adam(of(reference.net), lr)
        adam.t, adam.m, adam.v = 1, [p.detach().clone() for p in of(m)], [p.detach().clone() for p in of(v)]
        for first, second in zip(adam.m, adam.v, strict=True):
            torch.testing.assert_close(second, 0.1 * first**2)
        found.append(adam)
    return found


def test_images_of_the_published_size_agree_too():
    """84 x 84 pixels, three frames, the trunk of 50 and perceptrons of 1024: losses and gradients of a small batch."""
    config = DrQv2Config(batch_size=4)
    ours = build_algorithm(contract(size=84), config, device="cpu", seed=1)
    ours.freeze_statistics({STATE: (np.zeros(FRAME), np.ones(FRAME))})
    reference = Reference(ours, config)
    ours.noise = Recorder(ours.noise)
    b = batch(0, rows=4, size=84)
    metrics = ours.update(b)
    losses, *wanted = reference.update(b, ours.noise.draws)
    close_losses(metrics, losses)
    graded = networks_of(gradients(ours.policy), gradients(ours.critic))
    for of, theirs in zip((graded.of_critic, graded.of_actor, graded.of_encoder), wanted, strict=True):
        close(of(), theirs, of.__name__)


def test_a_cloning_update_agrees_with_the_reference():
    ours, config = start("as published")
    reference = Reference(ours, config)
    b, net = batch(5), reference.net
    mean = net.mean(net.encode(b.observation[IMAGE]), reference.inputs(b.observation, torch.zeros(())))
    loss = ((mean - torch.from_numpy(b.action).double()) ** 2).sum(1).mean()
    wanted = torch.autograd.grad(loss, [*net.of_actor(), *net.of_encoder()])
    reference.actor_adam.step(wanted[: len(net.of_actor())])
    reference.encoder_adam.step(wanted[len(net.of_actor()) :])
    close_losses(ours.clone(b), {"clone_loss": loss})
    cloned = networks_of(ours.policy, ours.critic)
    adams = (reference.actor_adam, reference.critic_adam, reference.encoder_adam)
    close_after_adam(cloned.of_all(), net.of_all(), adams, "networks")


def test_the_cases_differ():
    """Each setting under test changes the result: the comparison would notice if it were ignored."""
    results = {}
    for case in CASES:
        ours, config = start(case)
        for i in range(3):
            ours.update(batch(i, config.n_step, config.gamma))
        tensors, _ = ours.state()
        policy = tensors["policy.head.weight"] + tensors["ema.head.weight"]
        results[case] = torch.cat([policy.ravel(), tensors["critic.weights.2"].ravel()])
    cases = list(results)
    for i, left in enumerate(cases):
        for right in cases[i + 1 :]:
            assert (results[left] - results[right]).abs().max() > 1e-7, (left, right)
