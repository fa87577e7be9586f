"""A person's device through shared memory: nothing pressed is lost, and a lost device never hands back."""

import time

import numpy as np
import pytest

from actor.device_operator import DeviceOperator, publish
from actor.shared import Board, create_block
from envs.so101_sim import SO101SimConfig, derive_contract
from envs.teleop.device_state import DeviceState
from envs.teleop.operator import Event

INTERFACE = derive_contract(SO101SimConfig()).interface
PROPOSED = np.zeros(4, np.float32)


@pytest.fixture
def board():
    return Board(create_block(Board.SIZE))


def observation(gripper=1.0):
    feature = INTERFACE.feature("observation.state")
    state = np.zeros(feature.shape, np.float32)
    state[feature.components.index("gripper.command")] = gripper
    return {"observation.state": state}


def state(x=0.0, gripper=np.nan, **settings):
    return DeviceState(held=np.float32([x, 0, 0, gripper]), armed=True, **settings)


def test_driving_keeps_the_gripper_until_the_person_moves_it(board):
    operator = DeviceOperator(board, INTERFACE)
    publish(board, state(x=0.5, intervening=True, events=(Event.INTERVENE,)))
    said = operator.poll(observation(gripper=-1.0), PROPOSED)
    assert said.events == (Event.INTERVENE,)
    assert said.action.tolist() == [0.5, 0, 0, -1.0]
    publish(board, state(gripper=1.0, intervening=True))
    assert operator.poll(observation(gripper=-1.0), PROPOSED).action.tolist() == [0, 0, 0, 1.0]
    publish(board, state(events=(Event.RELEASE,)))
    said = operator.poll(observation(), PROPOSED)
    assert (said.action, said.events) == (None, (Event.RELEASE,))


def test_taps_between_two_polls_are_never_lost(board):
    operator = DeviceOperator(board, INTERFACE)
    publish(board, state(intervening=True, presses=np.uint64([0, 0, 0, 0, 0, 0])))
    operator.poll(observation(), PROPOSED)
    for presses in ([1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1]):
        publish(board, state(intervening=True, presses=np.uint64(presses), events=(Event.SUCCESS,)))
    said = operator.poll(observation(), PROPOSED)
    assert said.events == (Event.SUCCESS, Event.SUCCESS)
    assert said.action[:3].tolist() == [1.0, 0, -1.0]
    assert operator.poll(observation(), PROPOSED).events == ()


def test_a_lost_device_holds_until_the_person_says_how_to_go_on(board):
    now = time.monotonic_ns()
    clock = [now]
    operator = DeviceOperator(board, INTERFACE, clock_ns=lambda: clock[0])
    publish(board, state(x=1.0, intervening=True))
    assert not operator.poll(observation(), PROPOSED).lost
    publish(board, DeviceState(lost=True, reason="unplugged"))
    clock[0] = now + 10**9
    said = operator.poll(observation(), PROPOSED)
    assert said.lost
    assert said.doing == "input device lost (unplugged): holding"
    publish(board, state())
    clock[0] = time.monotonic_ns()
    assert operator.poll(observation(), PROPOSED).lost
    publish(board, state(events=(Event.RELEASE,)))
    said = operator.poll(observation(), PROPOSED)
    assert not said.lost
    assert said.action is None


def test_ready_between_episodes_also_says_how_to_go_on_after_a_loss(board):
    clock = [time.monotonic_ns()]
    operator = DeviceOperator(board, INTERFACE, clock_ns=lambda: clock[0])
    publish(board, state())
    clock[0] += 10**9
    assert operator.poll(observation(), PROPOSED).lost
    publish(board, state(events=(Event.READY,)))
    assert operator.between_episodes().lost
    clock[0] = time.monotonic_ns()
    publish(board, state())
    operator.between_episodes()
    assert operator.poll(observation(), PROPOSED).lost
    publish(board, state(events=(Event.READY,)))
    assert not operator.between_episodes().lost
    assert not operator.poll(observation(), PROPOSED).lost


def test_between_episodes_only_ready_goes_on(board):
    operator = DeviceOperator(board, INTERFACE)
    publish(board, state())
    assert operator.between_episodes().events == ()
    publish(board, state(events=(Event.READY,)))
    assert operator.between_episodes().events == (Event.READY,)
