"""The simulated SO-101 looks different from one episode to the next where asked, and exactly the same where not."""

import numpy as np
import pytest

from envs.errors import EnvError
from envs.so101_sim import SO101SimConfig, SO101SimEnv
from envs.teleop.scripted import ScriptedOperator, ScriptedOperatorConfig
from envs.teleop.scripted_misses import NEAR_MISSES

VARIED = {"light_jitter": 0.4, "camera_jitter_m": 0.01, "camera_jitter_deg": 1.0, "cube_colours": True}


def first_images(env, seed):
    observation, _ = env.reset(seed=seed)
    return observation["observation.images.front"].astype(int), observation["observation.state"]


@pytest.mark.parametrize("key", VARIED)
def test_each_setting_changes_the_images_and_nothing_else(key):
    plain, varied = SO101SimEnv(obs="pixels"), SO101SimEnv(obs="pixels", **{key: VARIED[key]})
    try:
        usual, state = first_images(plain, 5)
        other, same_state = first_images(varied, 5)
        np.testing.assert_array_equal(state, same_state)
        assert np.abs(usual - other).mean() > 0.1
        again, _ = first_images(varied, 5)
        first_images(varied, 6)
        once_more, _ = first_images(varied, 5)
        np.testing.assert_array_equal(again, once_more)
    finally:
        plain.close()
        varied.close()


def test_a_share_out_of_range_is_named():
    with pytest.raises(EnvError, match=r"light_jitter must be in \[0, 1\)"):
        SO101SimConfig(light_jitter=1.5)


@pytest.mark.parametrize("kind", NEAR_MISSES)
def test_near_misses_of_the_scripted_person_never_succeed(kind):
    env = SO101SimEnv()
    operator = ScriptedOperator(env, ScriptedOperatorConfig(demonstrate=True, near_miss=kind), seed=2)
    highest = 0.0
    for seed in range(4):
        observation, _ = env.reset(seed=seed)
        operator.begin_episode()
        for _ in range(60):
            said = operator.poll(observation, np.zeros(4, np.float32))
            observation, _, terminated, truncated, info = env.step(said.action)
            assert not info["success"]
            highest = max(highest, env.privileged_state().thing[2] - 0.015)
            if terminated or truncated:
                break
    assert (highest > 0.008) == (kind != "air")
    assert highest < 0.045
