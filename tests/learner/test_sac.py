from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from cli.keys import docs_of
from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from learner.algorithms import ALGORITHMS, SACConfig, build_algorithm, policy_spec
from learner.algorithms.device import choose_device
from learner.algorithms.state import StateError
from policies.snapshot import SnapshotError, read_snapshot, save_snapshot
from policies.spec import build_policy

NAME = "observation.state"
GYM = yaml.safe_load((Path(__file__).parents[2] / "configs" / "preset" / "gym_sac.yaml").read_text())
CONFIG = SACConfig(hidden=(32, 32), batch_size=64, critic_warmup_updates=0)
BOUNDED = RewardBounds(True, 0.0, 1.0, True)


def contract(reward=BOUNDED):
    interface = Interface(
        "t",
        (Feature(NAME, "float32", (4,)),),
        Feature("action", "float32", (2,), low=(-1.0,), high=(1.0,)),
        reward=reward,
    )
    return Contract(interface, View((FeatureView(NAME),)))


def batch(seed=0, size=64):
    rng = np.random.default_rng(seed)
    state = rng.standard_normal((size, 4)).astype(np.float32)
    return SimpleNamespace(
        observation={NAME: state},
        next_observation={NAME: rng.standard_normal((size, 4)).astype(np.float32)},
        action=np.clip(state[:, :2], -1, 1),
        reward=(rng.random(size) < 0.2).astype(np.float32),
        discount=np.full(size, 0.97, np.float32),
        human=rng.random(size) < 0.5,
        demonstration=np.arange(size) >= size // 2,
    )


def build(seed=0, reward=BOUNDED, **changes):
    return build_algorithm(contract(reward), replace(CONFIG, **changes), device="cpu", seed=seed)


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize(("q_weight", "same_policy"), [(0.0, True), (1.0, False)])
def test_without_the_critics_weight_only_human_actions_shape_the_policy(q_weight, same_policy):
    policies = []
    for reward in (0.0, 1.0):
        algorithm = build(q_weight=q_weight, clone_weight=1.0)
        algorithm.freeze_statistics({NAME: (np.zeros(4), np.ones(4))})
        start = {key: value.clone() for key, value in algorithm.policy.state_dict().items()}
        for i in range(5):
            sampled = batch(i)
            sampled.reward[:] = reward
            algorithm.update(sampled)
        assert not same(start, algorithm.policy.state_dict())
        policies.append(algorithm.policy.state_dict())
    assert same(*policies) == same_policy


def test_a_resumed_algorithm_goes_on_exactly():
    first = build(input_noise=0.1, critics=4, critic_subset=2)
    first.freeze_statistics({NAME: (np.ones(4), np.full(4, 2.0))})
    first.clone(batch())
    for i in range(3):
        first.update(batch(i))
    tensors, meta = first.state()
    resumed = build(seed=99, input_noise=0.1, critics=4, critic_subset=2)
    resumed.load_state(tensors, meta)
    for i in range(3, 6):
        expected, got = first.update(batch(i)), resumed.update(batch(i))
        assert same(expected, got)
    assert same(first.state()[0], resumed.state()[0])
    assert first.state()[1] == resumed.state()[1]


def test_a_state_is_a_copy():
    sac = build()
    tensors, _ = sac.state()
    before = {k: v.clone() for k, v in tensors.items()}
    sac.update(batch())
    assert same(before, tensors)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t, m: t.pop("critic_adam.out_bias.exp_avg"), "'critic_adam.out_bias.exp_avg' is missing"),
        (lambda t, m: t.update(extra=torch.zeros(1)), "'extra' is unexpected"),
        (
            lambda t, m: t.update(log_temperature=torch.zeros(2)),
            r"'log_temperature' must be torch.float32 of shape \(1,\)",
        ),
        (lambda t, m: t.update({"target.out_bias": t["target.out_bias"].double()}), "Got: torch.float64"),
        (lambda t, m: m.update(device="cuda"), "'device' must be 'cpu'. Got: 'cuda'"),
        (lambda t, m: m.pop("updates"), "'updates' is missing"),
        (lambda t, m: m.update(updates=1.5), "'updates' must be a whole number. Got: 1.5"),
        (lambda t, m: m.update(algorithm="drqv2"), "'algorithm' must be 'sac'. Got: 'drqv2'"),
    ],
)
def test_an_incomplete_state_is_refused_with_nothing_changed(change, text):
    tensors, meta = build(seed=1).state()
    change(tensors, meta)
    sac = build(seed=2)
    before, meta_before = sac.state()
    with pytest.raises(StateError, match=text):
        sac.load_state(tensors, meta)
    assert same(before, sac.state()[0])
    assert sac.state()[1] == meta_before


def test_same_seed_same_numbers_whatever_torchs_global_generator_did():
    first = build(seed=5)
    torch.rand(7)
    second = build(seed=5)
    assert same(first.state()[0], second.state()[0])
    first.update(batch())
    torch.rand(7)
    second.update(batch())
    assert same(first.state()[0], second.state()[0])
    assert not same(first.state()[0], build(seed=6).state()[0])


def test_building_leaves_torchs_global_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    build()
    assert torch.equal(before, torch.get_rng_state())


def test_cloning_learns_the_recorded_actions_and_the_average_follows():
    sac = build(actor_lr=1e-3)
    sac.freeze_statistics({NAME: (np.zeros(4), np.ones(4))})
    for i in range(400):
        sac.clone(batch(i))
    held_out = batch(10_000)
    for policy in (sac.policy, sac.ema_policy):
        acted = np.stack([policy.act({NAME: s}, deterministic=True) for s in held_out.observation[NAME]])
        assert np.abs(acted - held_out.action).mean() < 0.15
    assert sac.clones == 400
    assert sac.updates == 0


def test_the_actor_is_frozen_while_the_critic_warms_up_after_cloning():
    sac = build(critic_warmup_updates=3)
    sac.clone(batch())
    tensors = sac.state()[0]
    for i in range(3):
        metrics = sac.update(batch(i))
        assert "actor_loss" not in metrics
    after = sac.state()[0]
    frozen = [k for k in tensors if k.startswith(("policy.", "ema.", "policy_adam.", "log_temperature"))]
    assert all(torch.equal(tensors[k], after[k]) for k in frozen)
    assert not torch.equal(tensors["critic.out_weight"], after["critic.out_weight"])
    assert "actor_loss" in sac.update(batch(3))


def test_an_actor_from_scratch_moves_at_once():
    assert "actor_loss" in build(critic_warmup_updates=3).update(batch())


def test_the_actor_moves_every_so_many_updates():
    sac = build(actor_every=2)
    assert ["actor_loss" in sac.update(batch(i)) for i in range(4)] == [True, False, True, False]


def test_a_given_policy_is_taken_with_its_statistics_and_the_critic_warms_up():
    given = build(seed=1)
    given.freeze_statistics({NAME: (np.ones(4), np.full(4, 2.0))})
    sac = build(seed=2, critic_warmup_updates=2)
    sac.load_policy(read_snapshot(save_snapshot(given.policy, 7)))
    assert sac.statistics_frozen
    assert same(given.policy.state_dict(), sac.policy.state_dict())
    assert same(given.policy.state_dict(), sac.ema_policy.state_dict())
    assert ["actor_loss" in sac.update(batch(i)) for i in range(3)] == [False, False, True]


def test_a_given_policy_of_another_shape_or_never_trained_is_refused():
    other = build(hidden=(8,))
    other.freeze_statistics({NAME: (np.zeros(4), np.ones(4))})
    with pytest.raises(SnapshotError, match=r"does not fit this run: .*expected .*, got"):
        build().load_policy(read_snapshot(save_snapshot(other.policy, 0)))
    seeing = Contract(
        Interface("t", (Feature("observation.images.front", "uint8", (32, 32, 3)),), contract().interface.action),
        View(()),
    )
    image = save_snapshot(build_policy(policy_spec(seeing, CONFIG)), 0)
    text = rf"inputs: expected \('{NAME}',\), got \(\); .*images: expected \(\), got \('observation.images.front',\)"
    with pytest.raises(SnapshotError, match=text):
        build().load_policy(read_snapshot(image))
    with pytest.raises(SnapshotError, match="never trained"):
        build().load_policy(read_snapshot(save_snapshot(build().policy, 0)))


def test_targets_are_clamped_only_to_what_the_contract_states():
    assert build().target_bounds == (0.0, 1.0)
    assert build(reward=RewardBounds()).target_bounds is None
    assert build(clamp_targets=False).target_bounds is None
    assert build(entropy_backup=True).target_bounds is None
    assert build(reward=RewardBounds(True, -1.0, 0.0), gamma=0.9).target_bounds == pytest.approx((-10.0, 0.0))


def test_update_never_reads_a_tensor_back(monkeypatch):
    sac = build(input_noise=0.1, clone_weight=1.0)
    sac.update(batch())

    def read(*_):
        raise AssertionError("an update must not wait for the device")

    for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(torch.Tensor, name, read)
    metrics = sac.update(batch(1))
    monkeypatch.undo()
    assert {"critic_loss", "q_mean", "actor_loss", "temperature", "entropy", "clone_loss"} <= set(metrics)
    assert all(isinstance(v, torch.Tensor) and v.ndim == 0 and not v.requires_grad for v in metrics.values())


def test_a_batch_without_human_steps_gives_finite_updates():
    sac = build(clone_weight=1.0)
    b = batch()
    b.human[:] = False
    assert all(torch.isfinite(v) for v in sac.update(b).values())
    assert all(torch.isfinite(v).all() for v in sac.state()[0].values() if v.is_floating_point())


def test_learns_a_bandit_from_scratch():
    """Reward is -|a - s| of a one-step task: the actor finds a = s."""
    sac = build_algorithm(contract(RewardBounds()), SACConfig(**GYM, hidden=(64, 64)), device="cpu", seed=0)
    rng = np.random.default_rng(0)
    for _ in range(600):
        state = rng.uniform(-0.8, 0.8, (128, 4)).astype(np.float32)
        action = rng.uniform(-1, 1, (128, 2)).astype(np.float32)
        reward = -3 * np.abs(action - state[:, :2]).sum(1)
        sac.update(
            SimpleNamespace(
                observation={NAME: state},
                next_observation={NAME: state},
                action=action,
                reward=reward,
                discount=np.zeros(128, np.float32),
                human=np.zeros(128, bool),
                demonstration=np.zeros(128, bool),
            )
        )
    state = rng.uniform(-0.8, 0.8, (50, 4)).astype(np.float32)
    acted = np.stack([sac.ema_policy.act({NAME: s}, deterministic=True) for s in state])
    assert np.abs(acted - state[:, :2]).mean() < 0.15


def test_the_critic_loss_is_a_mean_over_critics_and_q_mean_one_over_online_transitions():
    sac = build(critics=3, input_noise=0.0, clamp_targets=False)
    b = batch()
    b.discount[:] = 0
    with torch.no_grad():
        q = sac.critic(torch.from_numpy(b.observation[NAME]), torch.from_numpy(b.action)).numpy()
    metrics = sac.update(b)
    assert metrics["critic_loss"].item() == pytest.approx(np.square(q - b.reward).mean(), rel=1e-4)
    assert metrics["q_mean"].item() == pytest.approx(q[:, : len(b.human) // 2].mean(), rel=1e-4)
    b.demonstration[:] = True
    with torch.no_grad():
        q = sac.critic(torch.from_numpy(b.observation[NAME]), torch.from_numpy(b.action)).numpy()
    assert sac.update(b)["q_mean"].item() == pytest.approx(q.mean(), rel=1e-4)


def test_a_first_glimpse_does_not_blind_a_generic_task():
    spec = policy_spec(contract(), SACConfig(**GYM))
    policy = build_policy(spec)
    policy.freeze_statistics({NAME: (np.zeros(4, np.float32), np.full(4, 0.1, np.float32))}, 1e-2)
    seen = policy.features({NAME: torch.tensor([[2.0, 0, 0, 0], [4.0, 0, 0, 0]])})
    assert not torch.equal(seen[0], seen[1]), "both are far beyond 5 standard deviations of the warm-up"


def test_every_setting_is_documented():
    assert {f.name for f in fields(SACConfig)} == docs_of(SACConfig).keys()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"target_reduce": "max"}, "algorithm.target_reduce must be one of"),
        ({"critic_subset": 3}, "algorithm.critic_subset must be from 0 to critics=2. Got: 3"),
        ({"gamma": 1.0}, "algorithm.gamma must be between 0 and 1. Got: 1.0"),
        ({"n_step": 0}, "algorithm.n_step must be at least 1. Got: 0"),
        ({"demo_share": 1.5}, "algorithm.demo_share must be from 0 to 1. Got: 1.5"),
        ({"tau": 0.0}, "algorithm.tau must be above 0 and at most 1. Got: 0.0"),
    ],
)
def test_impossible_settings_are_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        replace(CONFIG, **changes)


def test_unknown_algorithms_and_devices_are_refused():
    with pytest.raises(ValueError, match=r"algorithm.name must be one of \['drqv2', 'sac'\]. Got: 'ppo'"):
        build(name="ppo")
    with pytest.raises(ValueError, match=r"must be auto, cpu, cuda or mps\. Got: 'tpu'"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch finds no CUDA device"):
            choose_device("cuda")
    assert ALGORITHMS["sac"].config is SACConfig


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_updates_on_cuda_agree_with_the_cpu():
    cpu = build(input_noise=0.0)
    cuda = build_algorithm(contract(), replace(CONFIG, input_noise=0.0), device="cuda", seed=0)
    zero = torch.zeros(64, 2)
    cpu.noise.normal = lambda name, shape: zero
    cuda.noise.normal = lambda name, shape: zero.cuda()
    for i in range(3):
        expected, got = cpu.update(batch(i)), cuda.update(batch(i))
        for name, value in expected.items():
            torch.testing.assert_close(got[name].cpu(), value, atol=1e-4, rtol=1e-4)
