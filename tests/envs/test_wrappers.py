"""The action codec and the naming of observations, on real environments."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from envs.action_codec import ActionCodec
from envs.generic import GymConfig
from envs.registry import make_env

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


def test_wrapped_observation_is_a_copy() -> None:
    env = make_env("gym", GymConfig("MountainCarContinuous-v0"))
    env.reset(seed=1)
    first, *_ = env.step(np.ones(1, np.float32))
    kept = first["observation.state"].copy()
    env.step(np.ones(1, np.float32))
    np.testing.assert_array_equal(first["observation.state"], kept)
    assert isinstance(env.observation_space, spaces.Dict)
