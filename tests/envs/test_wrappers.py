"""The action codec, the naming of observations and interventions, on real environments."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from envs.action_codec import ActionCodec
from envs.generic import GymConfig
from envs.intervention import Intervention
from envs.registry import make_env
from envs.teleop.key_latch import KeyLatch
from envs.teleop.operator import Event, NoOperator, OperatorInput

PENDULUM = make_env("gym", GymConfig("Pendulum-v1"))


def codec() -> ActionCodec:
    assert isinstance(PENDULUM, ActionCodec)
    return PENDULUM


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=1))
def test_codec_gives_back_what_it_was_given(action) -> None:
    own = codec().action(np.array(action, np.float32))
    assert -2.0 <= own[0] <= 2.0
    np.testing.assert_allclose(codec().normalized(own), action, atol=1e-6)


def test_ends_and_middle_of_the_range_are_exact() -> None:
    assert [codec().action(np.array([a], np.float32))[0] for a in (-1, 0, 1)] == [-2, 0, 2]


def test_action_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"an action must have shape \(1,\)\. Got: \(2,\)"):
        codec().action(np.zeros(2, np.float32))
    with pytest.raises(ValueError, match=r"must have 1 components\. Got: 3"):
        codec().normalized(np.zeros(3))


class LatchOperator(NoOperator):
    """A person at a key latch, for an environment of one action."""

    def __init__(self) -> None:
        self.latch = KeyLatch()
        self.episodes = 0
        self.seen: list[np.ndarray] = []

    def begin_episode(self) -> None:
        self.episodes += 1

    def poll(self, observation, proposed) -> OperatorInput:
        self.seen.append(observation["observation.state"])
        state = self.latch.snapshot(armed=True, lost=False)
        return OperatorInput(state.action[:1] if state.intervening else None, state.events)


def test_person_takes_over_and_hands_back() -> None:
    operator = LatchOperator()
    env = Intervention(make_env("gym", GymConfig("Pendulum-v1")), operator)
    first, _ = env.reset(seed=1)
    proposed = np.array([0.25], np.float32)

    second, *_, info = env.step(proposed)
    assert (info["human"], info["chosen"].tolist(), info["operator"].events) == (False, [0.25], ())

    operator.latch.press("s")
    *_, info = env.step(proposed)
    assert (info["human"], info["chosen"].tolist(), info["proposed"].tolist()) == (True, [-0.5], [0.25])
    assert info["operator"].events == (Event.INTERVENE,)
    assert env.unwrapped.last_u == -1.0

    operator.latch.release("s")
    *_, info = env.step(proposed)
    assert (info["human"], info["chosen"].tolist()) == (True, [0.0])

    operator.latch.press("space")
    *_, info = env.step(proposed)
    assert (info["human"], info["chosen"].tolist()) == (False, [0.25])
    assert info["operator"].events == (Event.RELEASE,)
    assert operator.episodes == 1
    np.testing.assert_array_equal(operator.seen[0], first["observation.state"])
    np.testing.assert_array_equal(operator.seen[1], second["observation.state"])


def test_operator_for_another_environment_is_refused() -> None:
    class Wrong(NoOperator):
        def poll(self, observation, proposed) -> OperatorInput:
            return OperatorInput(np.zeros(4, np.float32))

    env = Intervention(make_env("gym", GymConfig("Pendulum-v1")), Wrong())
    env.reset(seed=1)
    with pytest.raises(ValueError, match=r"Wrong's action must have shape \(1,\)\. Got: \(4,\)"):
        env.step(np.zeros(1, np.float32))


def test_wrapped_observation_is_a_copy() -> None:
    env = make_env("gym", GymConfig("MountainCarContinuous-v0"))
    env.reset(seed=1)
    first, *_ = env.step(np.ones(1, np.float32))
    kept = first["observation.state"].copy()
    env.step(np.ones(1, np.float32))
    np.testing.assert_array_equal(first["observation.state"], kept)
    assert isinstance(env.observation_space, spaces.Dict)
