"""Limits and holds."""

from dataclasses import replace

import numpy as np
import pytest

from actor.safety import Guard
from episodes.contract import Contract, Feature, Interface, View
from episodes.outcome import Held

INTERFACE = Interface(
    "tests/safety",
    (Feature("observation.state", "float32", (2,)),),
    Feature(
        "action",
        "float32",
        (3,),
        ("target_delta.x", "target_delta.y", "gripper.command"),
        ("m", "m", "1"),
        (-1.0, -0.5, -1.0),
        (1.0, 0.5, 1.0),
    ),
)
CONTRACT = Contract(INTERFACE, View(()))


def test_the_tighter_limit_wins():
    assert Guard(CONTRACT, max_action=0.8).send(np.float32([9, 9, -9])).tolist() == pytest.approx([0.8, 0.5, -0.8])
    assert Guard(CONTRACT, max_action=5.0).send(np.float32([9, 9, -9])).tolist() == [1.0, 0.5, -1.0]


def test_holding_moves_no_delta_and_keeps_the_gripper():
    guard = Guard(CONTRACT)
    assert guard.hold().tolist() == [0, 0, 0]
    guard.send(np.float32([0.3, 0.2, -0.7]))
    assert guard.hold().tolist() == pytest.approx([0, 0, -0.7])
    guard.begin_episode({"observation.state": np.float32([0.4, 0.6])})
    assert guard.hold().tolist() == [0, 0, 0]


def test_the_first_hold_keeps_the_gripper_as_the_first_observation_shows_it():
    shown = Feature("observation.state", "float32", (2,), ("tool.x", "gripper.command"))
    guard = Guard(Contract(replace(INTERFACE, observations=(shown,)), View(())))
    guard.begin_episode({"observation.state": np.float32([0.4, 0.6])})
    assert guard.hold().tolist() == pytest.approx([0, 0, 0.6])


def test_an_action_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"an action must have shape \(3,\)\. Got: \(4,\)"):
        Guard(CONTRACT).choose(np.zeros(4, np.float32))


def test_faults():
    guard = Guard(CONTRACT, stale_observation_s=0.5, watchdog_s=1.0)
    good, bad = {"observation.state": np.zeros(2, np.float32)}, {"observation.state": np.float32([0, np.nan])}
    assert guard.fault_of_observation(good, {}) is Held.NO
    assert guard.fault_of_observation(bad, {}) is Held.NAN_OBSERVATION
    assert guard.fault_of_observation(good, {"observation_age_s": 0.6}) is Held.STALE_OBSERVATION
    assert guard.fault_of_action(np.float32([0, np.inf, 0])) is Held.NAN_ACTION
    assert guard.fault_of_action(np.float32([0, 1, 0])) is Held.NO
    assert guard.fault_of_duration(1.5) is Held.WATCHDOG
    assert guard.fault_of_duration(0.5) is Held.NO
    assert Guard(CONTRACT).fault_of_duration(100) is Held.NO
