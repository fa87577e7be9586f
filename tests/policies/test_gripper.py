"""One codec between a gripper's classes and commands, in both directions, wherever either is used."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from envs.so101_sim import SO101SimConfig, derive_contract
from episodes.contract import Contract, Feature, FeatureView, Interface, View
from policies.gripper import CLOSE, OPEN, STAY, Gripper, GripperError, commands
from policies.gripper_critic import greedy
from policies.snapshot import load_snapshot, save_snapshot
from policies.spec import PolicySpec, PolicySpecError, build_policy, spec_from_contract
from policies.stacking import FrameStack

COMMANDS = st.floats(-1, 1, width=32) | st.sampled_from([-1.0, 0.0, 1.0])
GRIPPER = Gripper(1, "s", -2)


def there(last):
    """The classes that do something at a last command, from what they mean."""
    return [STAY] + [CLOSE] * bool(last >= 0) + [OPEN] * bool(last <= 0)


@given(COMMANDS)
def test_each_class_comes_back_from_its_own_command(last):
    last = np.float32(last)
    for kind in there(last):
        action = np.array([0.3, commands(np.int64(kind), last), -0.2], np.float32)
        assert GRIPPER.classes(action, last) == kind
        assert GRIPPER.toggles(action, last) == (kind != STAY)


@given(COMMANDS, COMMANDS)
def test_any_command_is_of_a_class_that_is_there_and_ends_on_its_side(command, last):
    command, last = np.float32(command), np.float32(last)
    kind = int(GRIPPER.classes(np.array([0, command, 0], np.float32), last))
    assert kind in there(last)
    executed = commands(np.int64(kind), last)
    if command != 0:
        assert np.sign(executed) == np.sign(command)
    assert executed in (-1, 1, last)


def test_arrays_and_tensors_agree():
    rng = np.random.default_rng(0)
    action = rng.uniform(-1, 1, (200, 3)).astype(np.float32)
    last = rng.choice(np.float32([-1, -0.4, 0, 0.7, 1]), 200)
    kinds = GRIPPER.classes(action, last)
    assert set(kinds.tolist()) == {CLOSE, STAY, OPEN}
    tensors = GRIPPER.classes(torch.from_numpy(action), torch.from_numpy(last))
    np.testing.assert_array_equal(tensors.numpy(), kinds)
    np.testing.assert_array_equal(commands(tensors, torch.from_numpy(last)).numpy(), commands(kinds, last))


def test_a_class_that_would_do_nothing_is_never_chosen():
    last = torch.tensor([-1.0, -0.2, 0.0, 0.2, 1.0])
    close = greedy(torch.tensor([[3.0, 1.0, 2.0]]).repeat(5, 1), last)
    assert close.tolist() == [OPEN, OPEN, CLOSE, CLOSE, CLOSE]
    assert greedy(torch.tensor([[3.0, 2.5, 2.0]]).repeat(5, 1), last).tolist() == [STAY, STAY, CLOSE, CLOSE, CLOSE]


def contract(components=("gripper.command", "x"), shown=("a", "gripper.command", "b")):
    state = Feature("s", "float32", (len(shown),), shown)
    action = Feature("action", "float32", (len(components),), components)
    return Contract(Interface("t", (state,), action), View((FeatureView("s", stack=2),)))


def test_the_last_command_is_that_of_the_newest_frame():
    gripper = Gripper.of(contract())
    assert gripper == Gripper(0, "s", -2)
    stack = FrameStack({"s": 2})
    stack.reset({"s": np.float32([0, -1, 9])})
    stacked = stack.push({"s": np.float32([0, 1, 9])})
    assert gripper.last_command(stacked) == 1


@pytest.mark.parametrize(
    ("of", "text"),
    [
        (contract(components=("y", "x")), "a component named gripper beside others. Got: .'y', 'x'. of t"),
        (contract(components=("gripper.command",)), "a component named gripper beside others"),
        (
            contract(shown=("a", "b", "c")),
            "shows the last command, a component named 'gripper.command'. Got: none in t",
        ),
        (derive_contract(SO101SimConfig(task="reach")), "Use gripper=continuous"),
    ],
)
def test_a_contract_without_such_a_gripper_is_refused(of, text):
    with pytest.raises(GripperError, match=text):
        Gripper.of(of)


@pytest.mark.parametrize("obs", ["state", "proprio", "pixels"])
def test_a_policy_acts_by_its_critic_and_so_does_its_snapshot(obs):
    of = derive_contract(SO101SimConfig(obs=obs))
    spec = spec_from_contract(of, gripper=Gripper.of(of), hidden=(16, 16), initial_log_std=-2.0)
    torch.manual_seed(0)
    policy = build_policy(spec)
    with torch.no_grad():
        policy.gripper_critic.head.weight.mul_(50)
        policy.gripper_critic.head.bias.copy_(torch.tensor([0.0, -0.1, 0.0]))
    _, version, loaded = load_snapshot(save_snapshot(policy, 3))
    rng = np.random.default_rng(1)
    chosen = set()
    for _ in range(60):
        seen = {f.name: rng.standard_normal(f.shape).astype(np.float32) for f in of.stored if not f.is_image}
        seen |= {f.name: rng.integers(0, 256, f.shape, np.uint8) for f in of.stored if f.is_image}
        last = np.float32(rng.choice([-1.0, 1.0]))
        seen[spec.gripper_input][spec.gripper_place] = last
        stacked = FrameStack(spec.frames).reset(seen)
        action = loaded.act(stacked, generator=torch.Generator().manual_seed(0))
        np.testing.assert_array_equal(action, policy.act(stacked, generator=torch.Generator().manual_seed(0)))
        batch = {name: torch.from_numpy(value)[None] for name, value in stacked.items()}
        values = policy.gripper_critic(policy.features(batch))[0].tolist()
        best = max(there(last), key=lambda kind: values[kind])
        assert action.shape == (4,)
        assert action[3] == {CLOSE: -1, STAY: last, OPEN: 1}[best]
        chosen.add(best)
    assert version == 3
    assert len(chosen) > 1


def test_a_persons_action_is_executed_as_the_class_it_is_of():
    of = contract()
    policy = build_policy(spec_from_contract(of, gripper=Gripper.of(of), hidden=(8,)))
    for last, command, executed in ((1, 0.3, 1), (1, -0.3, -1), (-1, 0.9, 1), (-1, -0.9, -1), (0.4, 0.9, 0.4)):
        stacked = {"s": np.float32([0, -last, 0, 0, last, 0])}
        np.testing.assert_array_equal(
            policy.expressed(stacked, np.float32([command, 0.7])), np.float32([executed, 0.7])
        )
    assert np.isnan(policy.expressed(stacked, np.float32([np.nan, 0.7]))[0])
    continuous = build_policy(spec_from_contract(of, hidden=(8,)))
    assert continuous.expressed(stacked, np.float32([0.3, 0.7]))[0] == np.float32(0.3)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"gripper": 2}, "gripper must be a component of an action with others beside it.* Got: 2 of 2"),
        ({"gripper": 1, "kind": "deterministic"}, "of a gaussian policy. Got: 1 of 2, deterministic"),
        ({"gripper": 1, "gripper_input": "t"}, "must name a component of one frame of an input"),
        ({"gripper": 1, "gripper_input": "s", "gripper_place": -3}, "Got: 's' and -3"),
        ({"gripper": 1, "gripper_input": "s", "gripper_place": 0}, "Got: 's' and 0"),
    ],
)
def test_a_spec_whose_gripper_is_nowhere_is_refused(fields, text):
    with pytest.raises(PolicySpecError, match=text):
        PolicySpec(**{"inputs": ("s",), "stacks": (2,), "sizes": (4,), "action_size": 2, **fields})
