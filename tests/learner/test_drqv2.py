"""DrQ-v2: resumed, cloned, given, exploring, warming up and learning."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from learner.algorithms import build_algorithm
from learner.algorithms.drqv2_config import DrQv2Config
from learner.algorithms.state import StateError
from policies.snapshot import SnapshotError, read_snapshot, save_snapshot

STATE, IMAGE = "observation.state", "observation.images.front"
SIZE, ROWS = 20, 24
BOUNDED = RewardBounds(True, 0.0, 1.0, True)
CONFIG = DrQv2Config(
    hidden=(32, 32), trunk_size=12, batch_size=ROWS, critic_warmup_updates=0, std_decay_steps=100, utd_ratio=0.5
)
STATISTICS = {STATE: (np.zeros(4, np.float32), np.ones(4, np.float32))}


def contract(*, images=True, reward=BOUNDED):
    features = [Feature(STATE, "float32", (4,))] + [Feature(IMAGE, "uint8", (SIZE, SIZE, 3))] * images
    interface = Interface(
        "t", tuple(features), Feature("action", "float32", (2,), low=(-1.0,), high=(1.0,)), reward=reward
    )
    return Contract(interface, View(tuple(FeatureView(f.name, stack=3 if f.is_image else 1) for f in features)))


def batch(seed=0, size=ROWS):
    """What to do is shown by the images alone: half as bright as an action is large."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1, 1, (size, 2)).astype(np.float32)

    def observation(shown):
        images = rng.integers(0, 20, (size, SIZE, SIZE, 9), np.uint8)
        images[:, :, : SIZE // 2] += (100 * (shown[:, :1] + 1)).astype(np.uint8)[..., None, None]
        images[:, :, SIZE // 2 :] += (100 * (shown[:, 1:] + 1)).astype(np.uint8)[..., None, None]
        return {STATE: rng.standard_normal((size, 4)).astype(np.float32), IMAGE: images}

    return SimpleNamespace(
        observation=observation(action),
        next_observation=observation(action),
        action=action,
        reward=(rng.random(size) < 0.2).astype(np.float32),
        discount=np.full(size, 0.97, np.float32),
        human=rng.random(size) < 0.5,
        demonstration=np.arange(size) >= size // 2,
    )


def build(seed=0, images=True, reward=BOUNDED, **changes):
    return build_algorithm(contract(images=images, reward=reward), replace(CONFIG, **changes), device="cpu", seed=seed)


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def acted(policy, b):
    inputs = {name: torch.from_numpy(value) for name, value in b.observation.items()}
    with torch.no_grad():
        return policy(policy.features(inputs)).numpy()


@pytest.mark.parametrize("images", [True, False])
def test_a_resumed_algorithm_goes_on_exactly(images):
    changes = {"images": images, "input_noise": 0.1, "clone_weight": 0.5, "ema": 0.1, "critic_warmup_updates": 2}
    first = build(**changes)
    first.freeze_statistics(STATISTICS)
    first.clone(batch())
    for i in range(3):
        first.update(batch(i))
    tensors, meta = first.state()
    resumed = build(seed=99, **changes)
    resumed.load_state(tensors, meta)
    for i in range(3, 6):
        assert same(first.update(batch(i)), resumed.update(batch(i)))
    assert same(first.state()[0], resumed.state()[0])
    assert first.state()[1] == resumed.state()[1]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda t, m: t.pop("encoder_adam.stacks.0.0.weight.exp_avg"),
            "'encoder_adam.stacks.0.0.weight.exp_avg' is miss",
        ),
        (lambda t, m: t.update(extra=torch.zeros(1)), "'extra' is unexpected"),
        (lambda t, m: t.update({"policy.std": torch.zeros(2)}), r"'policy.std' must be torch.float32 of shape \(\)"),
        (lambda t, m: m.pop("pretrained"), "'pretrained' is missing"),
        (lambda t, m: m.update(algorithm="sac"), "'algorithm' must be 'drqv2'. Got: 'sac'"),
    ],
)
def test_an_incomplete_state_is_refused_with_nothing_changed(change, text):
    tensors, meta = build(seed=1).state()
    change(tensors, meta)
    ours = build(seed=2)
    before, meta_before = ours.state()
    with pytest.raises(StateError, match=text):
        ours.load_state(tensors, meta)
    assert same(before, ours.state()[0])
    assert ours.state()[1] == meta_before


def test_same_seed_same_numbers_whatever_torchs_global_generator_did():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(seed=5)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)
    second = build(seed=5)
    first.update(batch())
    torch.rand(7)
    second.update(batch())
    assert same(first.state()[0], second.state()[0])
    assert not same(first.state()[0], build(seed=6).state()[0])


def test_exploration_falls_with_environment_steps_and_travels_with_every_version():
    ours = build(std_start=1.0, std_end=0.1)
    ours.freeze_statistics(STATISTICS)
    shown = []
    for i in range(60):
        shown.append(float(read_snapshot(save_snapshot(ours.policy, i)).tensors["std"]))
        assert ours.update(batch(i, 4))["exploration_std"].item() == pytest.approx(shown[-1])
    # 100 environment steps at half an update each.
    assert shown[:50] == pytest.approx([1.0 - 0.9 * i / 50 for i in range(50)])
    assert shown[50:] == pytest.approx([0.1] * 10)


def test_the_schedule_does_not_depend_on_the_update_ratio_per_step():
    ours = build(utd_ratio=2.0)
    assert ours.config.exploration_std(100, pretrained=False) == pytest.approx(0.55)
    assert build(utd_ratio=0.5).config.exploration_std(25, pretrained=False) == pytest.approx(0.55)


def test_exploration_starts_lower_where_the_actor_was_cloned_or_given():
    cloned = build(std_start_pretrained=0.2, std_end=0.1)
    assert cloned.policy.std.item() == pytest.approx(1.0)
    cloned.freeze_statistics(STATISTICS)
    cloned.clone(batch())
    assert cloned.policy.std.item() == pytest.approx(0.2)
    given = build(seed=3, std_start_pretrained=0.15)
    given.load_policy(read_snapshot(save_snapshot(cloned.policy, 7)))
    assert given.policy.std.item() == pytest.approx(0.15)


def test_cloning_learns_what_only_the_images_show_and_the_average_follows():
    ours = build(actor_lr=1e-3, encoder_lr=1e-3, ema=0.01)
    ours.freeze_statistics(STATISTICS)
    kernel = next(p for n, p in ours.policy.named_parameters() if n.startswith("encoder."))
    before = kernel.clone()
    for i in range(250):
        ours.clone(batch(i))
    held_out = batch(10_000, 200)
    for policy in (ours.policy, ours.ema_policy):
        assert np.abs(acted(policy, held_out) - held_out.action).mean() < 0.15
    assert not torch.equal(before, kernel)
    assert (ours.clones, ours.updates) == (250, 0)


def test_the_policy_acts_the_same_while_the_critics_warm_up():
    """The encoder is the policy's too: were it trained meanwhile, the cloned policy would be lost."""
    ours = build(critic_warmup_updates=3, ema=0.5)
    ours.freeze_statistics(STATISTICS)
    ours.clone(batch())
    tensors = ours.state()[0]
    for i in range(3):
        assert "actor_loss" not in ours.update(batch(i))
    after = ours.state()[0]
    frozen = [k for k in tensors if k.startswith(("policy.", "ema.", "actor_adam", "encoder_adam")) and "std" not in k]
    assert all(torch.equal(tensors[k], after[k]) for k in frozen)
    assert not torch.equal(tensors["critic.weights.0"], after["critic.weights.0"])
    assert "actor_loss" in ours.update(batch(3))
    moved = ours.state()[0]
    assert any(not torch.equal(after[k], moved[k]) for k in frozen if k.startswith("encoder_adam"))


def test_an_actor_from_scratch_moves_at_once_and_every_so_many_updates():
    ours = build(critic_warmup_updates=3, actor_every=2)
    assert ["actor_loss" in ours.update(batch(i)) for i in range(4)] == [True, False, True, False]


def test_the_encoder_learns_from_the_critics_alone_unless_people_are_cloned():
    def encoder_after(actor, **changes):
        ours = build(**changes)
        ours.update(batch(), actor=actor)
        return {k: v for k, v in ours.state()[0].items() if k.startswith("policy.encoder.")}

    assert same(encoder_after(True), encoder_after(False))
    assert not same(encoder_after(True, clone_weight=1.0), encoder_after(False))


def test_the_target_has_no_encoder():
    assert not [k for k in build().state()[0] if k.startswith("target.") and "encoder" in k]


def test_evaluation_averages_the_encoder_with_the_actor():
    plain, averaged = build(), build(ema=0.25)
    start = averaged.state()[0]
    for ours in (plain, averaged):
        ours.update(batch())
        tensors = ours.state()[0]
        share = ours.config.ema
        for name, value in tensors.items():
            if name.startswith("policy.") and value.is_floating_point() and not name.endswith((".std", ".mean")):
                expected = start[name] + share * (value - start[name])
                torch.testing.assert_close(tensors[name.replace("policy.", "ema.", 1)], expected)


def test_a_given_policy_is_taken_with_its_statistics_and_the_critics_warm_up():
    given = build(seed=1)
    given.freeze_statistics({STATE: (np.ones(4), np.full(4, 2.0))})
    ours = build(seed=2, critic_warmup_updates=2)
    ours.load_policy(read_snapshot(save_snapshot(given.policy, 7)))
    assert ours.statistics_frozen
    for policy in (ours.policy, ours.ema_policy):
        np.testing.assert_array_equal(acted(policy, batch()), acted(given.policy, batch()))
    assert ["actor_loss" in ours.update(batch(i)) for i in range(3)] == [False, False, True]


def test_a_given_policy_of_another_shape_or_never_trained_is_refused():
    with pytest.raises(SnapshotError, match="never trained"):
        build().load_policy(read_snapshot(save_snapshot(build().policy, 0)))
    blind = build(images=False)
    blind.freeze_statistics(STATISTICS)
    seeing = build()
    seeing.freeze_statistics(STATISTICS)
    for ours, given in ((build(images=False), seeing), (build(), blind)):
        with pytest.raises(SnapshotError, match="the given policy"):
            ours.load_policy(read_snapshot(save_snapshot(given.policy, 0)))


def test_targets_are_clamped_only_where_asked_and_to_what_the_contract_states():
    assert build().target_bounds is None
    assert build(clamp_targets=True).target_bounds == (0.0, 1.0)
    assert build(clamp_targets=True, reward=RewardBounds()).target_bounds is None


def test_update_never_reads_a_tensor_back(monkeypatch):
    ours = build(input_noise=0.1, clone_weight=1.0, clamp_targets=True, ema=0.1)
    ours.update(batch())

    def read(*_):
        raise AssertionError("an update must not wait for the device")

    for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(torch.Tensor, name, read)
    metrics = ours.update(batch(1))
    monkeypatch.undo()
    assert {"critic_loss", "q_mean", "target_mean", "actor_loss", "clone_loss", "exploration_std"} == set(metrics)
    assert all(isinstance(v, torch.Tensor) and v.ndim == 0 and not v.requires_grad for v in metrics.values())


def test_a_batch_without_human_steps_gives_finite_updates():
    ours = build(clone_weight=1.0)
    b = batch()
    b.human[:] = False
    assert all(torch.isfinite(v) for v in ours.update(b).values())
    assert all(torch.isfinite(v).all() for v in ours.state()[0].values() if v.is_floating_point())


def test_learns_a_bandit_of_vectors_from_scratch():
    """Reward is -3 |a - s| of a one-step task: the actor finds a = s."""
    changes = {"actor_lr": 1e-3, "critic_lr": 1e-3, "hidden": (64, 64), "std_decay_steps": 600, "ema": 0.05}
    ours = build(images=False, reward=RewardBounds(), **changes)
    rng = np.random.default_rng(0)
    for _ in range(600):
        state = rng.uniform(-0.8, 0.8, (128, 4)).astype(np.float32)
        action = rng.uniform(-1, 1, (128, 2)).astype(np.float32)
        ours.update(
            SimpleNamespace(
                observation={STATE: state},
                next_observation={STATE: state},
                action=action,
                reward=-3 * np.abs(action - state[:, :2]).sum(1),
                discount=np.zeros(128, np.float32),
                human=np.zeros(128, bool),
                demonstration=np.zeros(128, bool),
            )
        )
    state = rng.uniform(-0.8, 0.8, (50, 4)).astype(np.float32)
    actions = np.stack([ours.ema_policy.act({STATE: s}, deterministic=True) for s in state])
    assert np.abs(actions - state[:, :2]).mean() < 0.15


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_updates_on_cuda_agree_with_the_cpu():
    cpu = build()
    cuda = build_algorithm(contract(), CONFIG, device="cuda", seed=0)
    zero = torch.zeros(ROWS, 2)
    cpu.noise.normal = lambda name, shape: zero
    cuda.noise.normal = lambda name, shape: zero.cuda()
    for i in range(3):
        expected, got = cpu.update(batch(i)), cuda.update(batch(i))
        for name, value in expected.items():
            torch.testing.assert_close(got[name].cpu(), value, atol=1e-3, rtol=1e-3)
