"""Which policy acts: the newest that can be acted with."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from actor.policy_pilot import PolicyPilot
from policies.snapshot import NotFiniteError, SnapshotError, _digest, _header, save_snapshot
from policies.spec import PolicySpec, build_policy
from policies.stacking import frame_indices, join_frames

SPEC = PolicySpec(inputs=("s",), stacks=(1,), sizes=(4,), action_size=2, hidden=(16, 16))


def not_finite(data: bytes) -> bytes:
    tensors, header = load(data), _header(data)
    tensors["head.bias"].fill_(float("nan"))
    return save(tensors, metadata={**header, "sha256": _digest(tensors)})


def test_a_policy_that_is_not_finite_leaves_the_one_before_acting(capsys):
    torch.manual_seed(3)
    policy = build_policy(SPEC)
    policy.freeze_statistics({"s": (np.arange(4.0), np.full(4, 3.0))}, 0.01)
    newest = iter([save_snapshot(policy, 1), not_finite(save_snapshot(policy, 2)), save_snapshot(policy, 3)])
    pilot = PolicyPilot(lambda spare_s: next(newest, None), exploration_share=0.0)
    pilot.refresh()
    pilot.begin_episode({"s": np.ones(4, np.float32)})
    before = pilot.propose()
    pilot.refresh()
    assert pilot.version == 1
    assert "keeping policy version 1: the policy snapshot is not finite" in capsys.readouterr().out
    np.testing.assert_array_equal(pilot.propose(), before)
    pilot.refresh()
    assert pilot.version == 3


def test_a_policy_of_another_network_is_refused_and_the_one_before_stays():
    policy, other = build_policy(SPEC), build_policy(replace(SPEC, hidden=(8,)))
    newest = iter([save_snapshot(policy, 1), save_snapshot(other, 2)])
    pilot = PolicyPilot(lambda spare_s: next(newest, None), exploration_share=0.0)
    pilot.refresh()
    with pytest.raises(SnapshotError, match="of another policy: hidden"):
        pilot.refresh()
    pilot.refresh()
    assert pilot.version == 1


def test_a_first_policy_that_is_not_finite_is_refused():
    pilot = PolicyPilot(lambda spare_s: not_finite(save_snapshot(build_policy(SPEC), 0)))
    with pytest.raises(NotFiniteError):
        pilot.refresh()


def test_an_image_policy_sees_the_frames_that_replay_would_stack():
    """The newest frame last, the first one repeated, in one batch with the vectors, on the device asked for."""
    sizes = {"images": ("i",), "image_stacks": (3,), "image_heights": (32,), "image_widths": (40,)}
    spec = PolicySpec(inputs=("s",), stacks=(2,), sizes=(4,), action_size=2, hidden=(16,), encoder="small", **sizes)
    policy = build_policy(spec).eval()
    newest = iter([save_snapshot(policy, 1)])
    pilot = PolicyPilot(lambda spare_s: next(newest, None), exploration_share=0.0, device=torch.device("cpu"))
    pilot.refresh()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 32, 40, 3), np.uint8)
    vectors = rng.standard_normal((4, 2)).astype(np.float32)
    seen = []
    for t in range(4):
        (pilot.observe if t else pilot.begin_episode)({"s": vectors[t], "i": images[t]})
        frames, rows = frame_indices(t, 3), frame_indices(t, 2)
        stacked = {"s": join_frames(vectors[rows], image=False), "i": join_frames(images[frames], image=True)}
        np.testing.assert_array_equal(pilot.propose(), policy.act(stacked, deterministic=True))
        seen.append(pilot.propose())
    assert len({tuple(action) for action in seen}) == 4


def test_the_policy_explores_in_a_share_of_the_episodes_and_in_whole_ones():
    policy = build_policy(SPEC).eval()
    payload = save_snapshot(policy, 1)
    observation = {"s": np.ones(4, np.float32)}
    mean = policy.act(observation, deterministic=True)

    def explored(share: float, seed: int) -> list[bool]:
        newest = iter([payload])
        pilot = PolicyPilot(lambda spare_s: next(newest, None), exploration_share=share, seed=seed)
        pilot.refresh()
        episodes = []
        for _ in range(200):
            pilot.begin_episode(observation)
            noisy = {bool((pilot.propose() != mean).any()) for _ in range(3)}
            assert len(noisy) == 1
            episodes.append(noisy.pop())
        return episodes

    assert all(explored(1.0, seed=0))
    assert not any(explored(0.0, seed=0))
    half = explored(0.5, seed=0)
    assert 70 < sum(half) < 130
    assert half == explored(0.5, seed=0) != explored(0.5, seed=1)


def test_a_policy_that_takes_long_is_loaded_in_parts_and_acts_once_it_is_whole(monkeypatch):
    spec = replace(SPEC, hidden=(1000, 1500))
    torch.manual_seed(3)
    policies = [build_policy(spec).eval() for _ in range(4)]
    payloads = [save_snapshot(policy, version) for version, policy in enumerate(policies, 1)]
    observation = {"s": np.ones(4, np.float32)}
    pilot = PolicyPilot(lambda spare_s: payloads.pop(0) if payloads else None, exploration_share=0.0)
    pilot.refresh()
    pilot.begin_episode(observation)

    def acts_as(version: int) -> bool:
        return bool((pilot.propose() == policies[version - 1].act(observation, deterministic=True)).all())

    pilot._part_s = 10.0
    calls = 0
    while pilot.version == 1:
        assert acts_as(1), "the one before acts until all of it is there"
        pilot.refresh(0.0)
        calls += 1
    assert 5 < calls < 15, "a part in each call where there is no time for more"
    assert acts_as(2)
    pilot.refresh(0.0)
    assert pilot.version == 2
    monkeypatch.setattr("actor.policy_pilot._AT_ONCE_S", 0.0)
    pilot.refresh(0.0)
    assert pilot.version == 3, "it has taken long enough"
    assert acts_as(3)
    pilot._part_s = 0.0
    pilot.refresh(10.0)
    assert pilot.version == 4, "with time enough all parts at once"
    assert acts_as(4)


def test_a_small_policy_acts_at_once_however_little_time_is_left():
    policy = build_policy(SPEC)
    payloads = [save_snapshot(policy, version) for version in (1, 2)]
    pilot = PolicyPilot(lambda spare_s: payloads.pop(0) if payloads else None)
    pilot.refresh()
    pilot.refresh(0.0)
    assert pilot.version == 2


def test_a_policy_that_stands_still_acts_with_its_noise_where_its_spec_says_so():
    policy = build_policy(replace(SPEC, stall_steps=3)).eval()
    payload = save_snapshot(policy, 1)

    def noisy(places: Iterable[int]) -> list[bool]:
        newest = iter([payload])
        pilot = PolicyPilot(lambda spare_s: next(newest, None), exploration_share=0.0)
        pilot.refresh()
        found = []
        for t, place in enumerate(places):
            observation = {"s": np.full(4, place, np.float32)}
            (pilot.observe if t else pilot.begin_episode)(observation)
            found.append(bool((pilot.propose() != policy.act(observation, deterministic=True)).any()))
        return found

    assert noisy(range(12)) == [False] * 12
    assert noisy([0] * 6) == [False] * 3 + [True] * 3
