from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from learner.algorithms import SACConfig, build_algorithm
from policies.snapshot import read_snapshot, save_snapshot

STATE, FRONT, WRIST = "observation.state", "observation.images.front", "observation.images.wrist"
SIZE, ROWS = 16, 24
CONFIG = SACConfig(hidden=(32, 32), batch_size=ROWS, critic_warmup_updates=0, clone_weight=0.1)
STATISTICS = {STATE: (np.zeros(4, np.float32), np.ones(4, np.float32))}


def contract(*, vectors=True, images=True):
    features = [Feature(STATE, "float32", (4,))] * vectors
    features += [Feature(name, "uint8", (SIZE, SIZE, 3)) for name in (FRONT, WRIST)] * images
    action = Feature("action", "float32", (2,), low=(-1.0,), high=(1.0,))
    interface = Interface("t", tuple(features), action, reward=RewardBounds(True, 0.0, 1.0, True))
    return Contract(interface, View(tuple(FeatureView(f.name) for f in features)))


def batch(seed=0, size=ROWS):
    """What to do is shown by the images alone: the left half of one is as bright as an action is large."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-0.9, 0.9, (size, 2)).astype(np.float32)

    def observation(shown):
        images = {name: rng.integers(0, 20, (size, SIZE, SIZE, 3), np.uint8) for name in (FRONT, WRIST)}
        for i, image in enumerate(images.values()):
            image[:, :, : SIZE // 2] += (100 * (shown[:, i] + 1)).astype(np.uint8)[:, None, None, None]
        return {STATE: rng.standard_normal((size, 4)).astype(np.float32), **images}

    return SimpleNamespace(
        observation=observation(action),
        next_observation=observation(rng.uniform(-0.9, 0.9, (size, 2))),
        action=action,
        reward=(rng.random(size) < 0.2).astype(np.float32),
        discount=np.full(size, 0.97, np.float32),
        human=rng.random(size) < 0.5,
        demonstration=np.arange(size) >= size // 2,
    )


def build(seed=0, of=None, **changes):
    return build_algorithm(of or contract(), replace(CONFIG, **changes), device="cpu", seed=seed)


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def encoder(sac):
    return {k: v.clone() for k, v in sac.policy.encoder.state_dict().items()}


def moves(sac, **arguments):
    before = encoder(sac)
    sac.update(batch(sac.updates), **arguments)
    return not same(before, encoder(sac))


@pytest.mark.parametrize("target_encoder", [False, True])
def test_a_saved_state_goes_on_with_the_same_numbers(target_encoder):
    changes = {"target_encoder": target_encoder, "input_noise": 0.1}
    first = build(seed=1, **changes)
    first.clone(batch(7))
    for i in range(3):
        first.update(batch(i))
    resumed = build(seed=2, **changes)
    resumed.load_state(*first.state())
    for i in range(3, 6):
        assert same(first.update(batch(i)), resumed.update(batch(i)))
    assert same(first.state()[0], resumed.state()[0])
    assert any(k.startswith("target_encoder.") for k in first.state()[0]) == target_encoder


def test_cloning_learns_what_only_the_images_show():
    sac = build(actor_lr=1e-3, encoder_lr=1e-3, input_noise=0.0)
    sac.freeze_statistics(STATISTICS)
    for i in range(300):
        sac.clone(batch(i))
    held_out = batch(10_000)
    for policy in (sac.policy, sac.ema_policy):
        acted = np.stack(
            [
                policy.act({name: frames[i] for name, frames in held_out.observation.items()}, deterministic=True)
                for i in range(ROWS)
            ]
        )
        assert np.abs(acted - held_out.action).mean() < 0.2


def test_the_critics_loss_trains_the_encoder_and_the_actors_does_not():
    sac = build(clone_weight=0.0)
    before = encoder(sac)
    features = sac.policy.features(
        {
            k: torch.from_numpy(v).to(torch.uint8 if k != STATE else torch.float32)
            for k, v in batch().observation.items()
        }
    )
    assert features.requires_grad
    sac.update(batch(), actor=False)
    by_critics = encoder(sac)
    assert not same(before, by_critics)
    other = build(clone_weight=0.0)
    other.update(batch(), actor=True)
    assert same(by_critics, encoder(other)), "the actor's loss reached the encoder"


def test_encoder_and_actor_stay_while_the_critics_warm_up_after_cloning():
    sac = build(critic_warmup_updates=2)
    sac.clone(batch(9))
    policy = {k: v.clone() for k, v in sac.policy.state_dict().items()}
    assert [moves(sac), moves(sac)] == [False, False]
    assert same(policy, sac.policy.state_dict())
    assert moves(sac)


def test_a_frozen_encoder_is_trained_by_cloning_alone():
    sac = build(encoder_frozen="cloned")
    assert moves(sac), "without cloning there is nothing to freeze"
    before = encoder(sac)
    sac.clone(batch(9))
    assert not same(before, encoder(sac))
    assert not any(moves(sac) for _ in range(3))
    assert same(encoder(sac), sac.ema_policy.encoder.state_dict())


def test_a_frozen_encoder_of_a_given_policy_stays_as_it_is():
    cloned, given = build(encoder_frozen="cloned"), build(seed=3, encoder_frozen="cloned")
    cloned.freeze_statistics({STATE: (np.zeros(4), np.ones(4))})
    cloned.clone(batch(9))
    given.load_policy(read_snapshot(save_snapshot(cloned.policy, 7)))
    assert not any(moves(given) for _ in range(3))
    again = build(seed=4, encoder_frozen="cloned")
    again.load_state(*given.state())
    assert not moves(again)


def test_a_frozen_encoder_is_refreshed_now_and_then():
    sac = build(encoder_frozen="cloned", encoder_refresh_every=3, encoder_refresh_updates=1)
    sac.clone(batch(9))
    assert [moves(sac) for _ in range(8)] == [False, False, False, True, False, False, True, False]


def drawn(i):
    """A batch of a replay buffer of 40 rows, each of which always has the same image."""
    b, rng = batch(0), np.random.default_rng(i)
    for name in ("", "next_"):
        rows = rng.integers(0, 40, ROWS, np.int32)
        setattr(b, f"{name}rows", rows)
        setattr(b, f"{name}generation", np.ones(ROWS, np.uint32))
        observation = getattr(b, f"{name}observation")
        for camera in (FRONT, WRIST):
            observation[camera] = np.tile((6 * rows).astype(np.uint8)[:, None, None, None], (1, SIZE, SIZE, 3))
    return b


def test_features_of_a_frozen_encoder_are_kept_and_change_no_update(monkeypatch):
    results, images = [], []
    for copies in (0, 2):
        sac = build(encoder_frozen="cloned", encoder_cache_copies=copies)
        sac.clone(batch(9))
        encode = sac.encoder.encoder.forward
        seen = []
        monkeypatch.setattr(sac.encoder.encoder, "forward", lambda o, e=encode, s=seen: s.append(len(o[FRONT])) or e(o))
        for i in range(12):
            sac.update(drawn(i))
        results.append(sac.critic.out_weight.detach())
        images.append(sum(seen))
    torch.testing.assert_close(results[1], results[0], atol=1e-6, rtol=1e-5)
    assert images[0] == 12 * 2 * ROWS
    assert images[1] <= 2 * 40


def features_kept_and_not(change, **settings):
    """The critic losses of updates before and after ``change`` of an algorithm, without kept features and with them."""
    losses = []
    for copies in (0, 2):
        sac = build(encoder_frozen="cloned", encoder_lr=1e-2, encoder_cache_copies=copies, **settings)
        sac.freeze_statistics(STATISTICS)
        sac.clone(batch(9))
        before = [sac.update(drawn(i))["critic_loss"] for i in range(4)]
        change(sac)
        losses.append(torch.stack(before + [sac.update(drawn(i))["critic_loss"] for i in range(4, 8)]))
    return losses


def test_features_kept_from_before_a_refresh_are_not_used_after_it():
    settings = {"encoder_refresh_every": 3, "encoder_refresh_updates": 1}
    plain, kept = features_kept_and_not(lambda sac: None, **settings)
    torch.testing.assert_close(kept, plain, atol=1e-5, rtol=1e-3)


def test_features_kept_from_before_a_policy_is_given_are_not_used_after_it():
    given = build(seed=3)
    given.freeze_statistics(STATISTICS)
    snapshot = read_snapshot(save_snapshot(given.policy, 7))
    plain, kept = features_kept_and_not(lambda sac: sac.load_policy(snapshot))
    torch.testing.assert_close(kept, plain, atol=1e-5, rtol=1e-3)


def test_a_run_with_kept_features_resumes_with_the_same_numbers():
    changes = {"encoder_frozen": "cloned", "encoder_cache_copies": 2}
    first = build(seed=1, **changes)
    first.clone(batch(7))
    for i in range(5):
        first.update(drawn(i))
    state = first.state()
    for b in (moved := [drawn(i) for i in range(5, 8)]):
        for camera in (FRONT, WRIST):
            b.observation[camera][:] += 3
    resumed = build(seed=2, **changes)
    resumed.load_state(*state)
    for b in moved:
        assert same(first.update(b), resumed.update(b))


def test_noise_is_on_vectors_only():
    sac = build(input_noise=0.1)
    shapes = {}
    draw = sac.noise.normal
    sac.noise.normal = lambda name, shape: shapes.setdefault(name, draw(name, shape))
    sac.update(batch())
    assert {name: tuple(shapes[name].shape) for name in ("observation", "next_observation")} == {
        "observation": (ROWS, 4),
        "next_observation": (ROWS, 4),
    }


def test_images_alone_are_enough():
    sac = build(of=contract(vectors=False), input_noise=0.1)
    sac.clone(batch())
    assert all(torch.isfinite(v) for v in sac.update(batch()).values())


def test_a_run_without_images_has_no_encoder_and_asks_for_no_shift():
    sac = build(of=contract(images=False), shift_px=4)
    assert (sac.policy.encoder, sac.shift_px) == (None, 0)
    assert build(shift_px=4).shift_px == 4
    assert not any("encoder" in name for name in sac.state()[0])


def test_a_given_policy_brings_its_encoder_to_every_copy():
    given = build(seed=1)
    given.freeze_statistics(STATISTICS)
    sac = build(seed=2, target_encoder=True)
    sac.load_policy(read_snapshot(save_snapshot(given.policy, 7)))
    for copied in (sac.policy.encoder, sac.ema_policy.encoder, sac.encoder.target):
        assert same(encoder(given), copied.state_dict())


@pytest.mark.parametrize("target_encoder", [False, True])
def test_an_update_on_images_never_reads_a_tensor_back(monkeypatch, target_encoder):
    sac = build(target_encoder=target_encoder, input_noise=0.1)
    sac.update(batch())

    def read(*_):
        raise AssertionError("an update must not wait for the device")

    for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(torch.Tensor, name, read)
    metrics = sac.update(batch(1))
    monkeypatch.undo()
    assert all(isinstance(v, torch.Tensor) and v.ndim == 0 and not v.requires_grad for v in metrics.values())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"encoder_frozen": "always"}, "algorithm.encoder_frozen must be one of"),
        ({"encoder_lr": 0.0}, "algorithm.encoder_lr must be greater than 0. Got: 0.0"),
        ({"shift_px": -1}, "algorithm.shift_px must be 0 or more. Got: -1"),
        ({"encoder_size": -1}, "algorithm.encoder_size must be 0 or more. Got: -1"),
    ],
)
def test_impossible_settings_are_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        replace(CONFIG, **changes)
