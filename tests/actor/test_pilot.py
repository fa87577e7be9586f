"""Which policy acts: the newest that can be acted with."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from actor.pilot import PolicyPilot
from policies.snapshot import NotFiniteError, _digest, _header, save_snapshot
from policies.spec import PolicySpec, build_policy

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
    pilot = PolicyPilot(lambda: next(newest, None), deterministic=True)
    pilot.refresh()
    pilot.begin_episode({"s": np.ones(4, np.float32)})
    before = pilot.propose()
    pilot.refresh()
    assert pilot.version == 1
    assert "keeping policy version 1: the policy snapshot is not finite" in capsys.readouterr().out
    np.testing.assert_array_equal(pilot.propose(), before)
    pilot.refresh()
    assert pilot.version == 3


def test_a_first_policy_that_is_not_finite_is_refused():
    pilot = PolicyPilot(lambda: not_finite(save_snapshot(build_policy(SPEC), 0)))
    with pytest.raises(NotFiniteError):
        pilot.refresh()
