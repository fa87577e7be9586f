"""The simulated SO-101: spaces, determinism, clamps, what is shown and what is hidden, outcomes and errors."""

import subprocess
import sys
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs import registry
from envs.errors import EnvError
from envs.mujoco_gl import load_mujoco
from envs.so101_interface import OBSERVATIONS, TASKS, observation_features
from envs.so101_sim import SO101SimConfig, SO101SimEnv, derive_contract
from envs.so101_tasks import LEFT_WORKSPACE
from transport.settings import config_from, settings_of

DOWN, OPEN = np.array([0, 0, -1, 1], np.float32), np.array([0, 0, 0, 1], np.float32)


def rollout(env, seed, steps=25):
    """Every observation of a random rollout, and the actions sent."""
    rng = np.random.default_rng(seed)
    observations, sent = [env.reset(seed=seed)[0]], []
    for _ in range(steps):
        observation, *_, info = env.step(rng.uniform(-1, 1, 4).astype(np.float32))
        observations.append(observation)
        sent.append(info["sent_action"])
    return observations, sent


def place_cube(env, position):
    """Move the cube there, at rest."""
    joint = env.model.joint("cube")
    env.data.qpos[joint.qposadr[0] :][:7] = (*position, 1, 0, 0, 0)
    env.data.qvel[joint.dofadr[0] :][:6] = 0
    load_mujoco().mj_forward(env.model, env.data)


@pytest.mark.parametrize("obs", OBSERVATIONS)
@pytest.mark.parametrize("task", sorted(TASKS))
def test_gymnasium_accepts_every_form(task, obs):
    env_id = {"lift": "tandem/SO101Lift-v0", "reach": "tandem/SO101Reach-v0", "insert": "tandem/SO101Insert-v0"}[task]
    env = gym.make(env_id, obs=obs, image_width=32, image_height=24, render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


@pytest.mark.parametrize("obs", OBSERVATIONS)
def test_equal_seeds_give_identical_rollouts(obs):
    first = SO101SimEnv(obs=obs, image_width=32, image_height=32)
    second = SO101SimEnv(obs=obs, image_width=32, image_height=32)
    rollout(second, seed=8)  # what happened before does not matter
    (left, left_sent), (right, right_sent) = rollout(first, seed=7), rollout(second, seed=7)
    for a, b in zip(left, right, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    np.testing.assert_array_equal(left_sent, right_sent)
    assert any((a[name] != b[name]).any() for a, b in zip(left, rollout(first, 9)[0], strict=True) for name in a)


@pytest.mark.parametrize("task", sorted(TASKS))
@pytest.mark.parametrize("obs", OBSERVATIONS)
def test_contract_matches_the_environment(task, obs):
    config = SO101SimConfig(task=task, obs=obs, image_width=40, image_height=24)
    interface = registry.derive_contract("so101_sim", config).interface
    env = registry.make_env("so101_sim", config)
    observation, _ = env.reset(seed=0)
    assert list(observation) == [f.name for f in interface.observations] == list(env.observation_space.spaces)
    for feature in interface.observations:
        assert observation[feature.name].shape == feature.shape
        assert observation[feature.name].dtype == feature.dtype
        assert (
            len(feature.components)
            == len(feature.units)
            == len(feature.low)
            == (0 if feature.is_image else feature.shape[0])
        )
    assert interface.action.shape == env.action_space.shape == (4,)
    assert interface.control_hz == 10.0
    env.close()


def test_sizes_of_the_vectors():
    sizes = {
        (task, obs): [f.shape for f in observation_features(SO101SimConfig(task=task, obs=obs))]
        for task in TASKS
        for obs in OBSERVATIONS
    }
    assert sizes["insert", "state"] == [(26,)]
    assert sizes["lift", "state"] == [(16,)]
    assert sizes["reach", "state"] == [(9,)]
    for task in TASKS:
        assert sizes[task, "proprio"] == [(18,), (4,)]
        assert sizes[task, "pixels"] == [(18,), (4,), (64, 64, 3), (64, 64, 3)]


def test_the_contract_needs_no_simulator():
    code = (
        "import sys; from envs.registry import derive_contract; from envs.so101_interface import SO101SimConfig;"
        "derive_contract('so101_sim', SO101SimConfig(obs='pixels')); assert 'mujoco' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_view_stacks_proprioception_only():
    view = derive_contract(SO101SimConfig(obs="pixels")).view
    assert {f.name: f.stack for f in view.features} == {
        "observation.state": 3,
        "observation.command": 1,
        "observation.images.front": 1,
        "observation.images.wrist": 1,
    }
    assert derive_contract(SO101SimConfig()).view.stack("observation.state") == 1
    stacked = derive_contract(SO101SimConfig(obs="pixels", image_stack=3, stack=2)).view
    assert [f.stack for f in stacked.features] == [2, 1, 3, 3]


def test_config_travels_as_settings():
    config = SO101SimConfig(task="reach", obs="pixels", cameras=("wrist",), image_width=84, image_resize=(64, 64))
    assert config_from(SO101SimConfig, settings_of(config)) == config


def test_target_stays_in_the_box_and_near_the_tool_point():
    env = SO101SimEnv(max_episode_steps=1000)
    low, high = np.array(env.config.workspace_low_m), np.array(env.config.workspace_high_m)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    for block in range(30):
        action = rng.choice([-1.0, 1.0], 4)
        for _ in range(6):
            before = env.privileged_state()
            env.step(action)
            target = env.privileged_state().target
            assert (target >= low).all(), block
            assert (target <= high).all(), block
            inside = np.clip(before.tool, low, high)
            assert np.linalg.norm(target - inside) <= env.config.target_lead_m + 1e-9


def test_lead_is_clamped_when_the_arm_is_blocked():
    env = SO101SimEnv(max_step_m=0.05, target_lead_m=0.02)
    env.reset(seed=0)
    state = env.privileged_state()
    *_, info = env.step(DOWN)
    assert np.linalg.norm(env.privileged_state().target - state.tool) <= 0.02 + 1e-9
    assert info["sent_action"][2] == pytest.approx(-0.4, abs=0.02)


def test_sent_action_is_what_the_target_did():
    env = SO101SimEnv()
    env.reset(seed=1)
    rng = np.random.default_rng(1)
    for _ in range(40):
        before = env.privileged_state().target
        action = rng.uniform(-1.5, 1.5, 4)
        *_, info = env.step(action)
        moved = (env.privileged_state().target - before) / env.config.max_step_m
        np.testing.assert_allclose(info["sent_action"][:3], np.clip(moved, -1, 1), atol=1e-6)
        assert info["sent_action"][3] == pytest.approx(np.clip(action[3], -1, 1))


def test_a_steady_action_moves_the_arm_by_its_size():
    env = SO101SimEnv()
    env.reset(seed=3)
    start = env.privileged_state().tool
    for _ in range(4):
        env.step(np.array([0.0, 0.5, 0.0, 1.0], np.float32))
    for _ in range(5):
        env.step(OPEN)
    moved = env.privileged_state().tool - start
    np.testing.assert_allclose(moved, (0.0, 0.04, 0.0), atol=0.004)


def test_gripper_command_closes_and_opens():
    env = SO101SimEnv()
    env.reset(seed=0)
    for command in (-1.0, 1.0):
        for _ in range(12):
            env.step(np.array([0, 0, 0, command], np.float32))
        assert env.privileged_state().gripper == pytest.approx(command, abs=0.05)


@pytest.mark.parametrize("action", [[0, np.nan, 0, 0], [0, 0, 0, np.inf]])
def test_action_that_is_not_finite_is_refused(action):
    env = SO101SimEnv()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action must be finite\. Got: \["):
        env.step(np.array(action))
    with pytest.raises(EnvError, match=r"action must have shape \(4,\)\. Got: \(3,\)"):
        env.step(np.zeros(3))


def test_proprioception_hides_the_cube_and_pixels_show_it():
    env = SO101SimEnv(obs="pixels", image_width=64, image_height=64)
    before, _ = env.reset(seed=0)
    place_cube(env, (0.24, -0.07, 0.015))
    after = env._observe()
    for name in ("observation.state", "observation.command"):
        np.testing.assert_array_equal(before[name], after[name])
    assert (before["observation.images.front"] != after["observation.images.front"]).any()
    words = [c for f in env._features for c in f.components]
    assert not [word for word in words if "cube" in word or "goal" in word]
    *_, info = env.step(OPEN)
    assert set(info) == {"sent_action", "success"}
    env.close()


def test_state_follows_the_cube_and_its_quarter_turns_look_alike():
    env = SO101SimEnv()
    env.reset(seed=0)
    place_cube(env, (0.24, -0.07, 0.015))
    state = env._observe()["observation.state"]
    names = env._features[0].components
    tool = env.privileged_state().tool
    np.testing.assert_allclose(state[:3], np.array((0.24, -0.07, 0.015)) - tool, atol=1e-6)
    np.testing.assert_allclose(state[3:6], np.clip(state[:3], -0.04, 0.04), atol=1e-6)
    assert state[names.index("cube.cos_4yaw")] == pytest.approx(1.0)
    env.data.joint("cube").qpos[3:] = (np.sqrt(0.5), 0, 0, np.sqrt(0.5))
    load_mujoco().mj_forward(env.model, env.data)
    np.testing.assert_allclose(env._observe()["observation.state"], state, atol=1e-5)


def test_cube_that_leaves_ends_the_episode():
    env = SO101SimEnv()
    env.reset(seed=0)
    place_cube(env, (0.20, 0.14, 0.015))
    _, reward, terminated, truncated, info = env.step(OPEN)
    assert (reward, terminated, truncated) == (0.0, True, False)
    assert (info["success"], info["failure"]) == (False, LEFT_WORKSPACE)


def test_a_cube_in_the_air_but_not_in_the_gripper_is_no_success():
    env = SO101SimEnv()
    env.reset(seed=0)
    place_cube(env, (0.20, 0.08, 0.20))
    _, reward, terminated, _, info = env.step(OPEN)
    assert env.privileged_state().thing[2] > 0.1
    assert (reward, terminated, info["success"]) == (0.0, False, False)


@pytest.mark.parametrize(("task", "limit", "steps"), [("lift", 0, 60), ("reach", -1, 40), ("lift", 7, 7)])
def test_time_limit_truncates(task, limit, steps):
    env = SO101SimEnv(task=task, max_episode_steps=limit, reach_tolerance_m=1e-6)
    env.reset(seed=0)
    ends = [env.step(OPEN)[2:4] for _ in range(steps)]
    assert ends[-1] == (False, True)
    assert set(ends[:-1]) == {(False, False)}


def test_reach_succeeds_at_the_goal():
    env = SO101SimEnv(task="reach")
    env.reset(seed=0)
    env.data.mocap_pos[0] = env.privileged_state().tool
    _, reward, terminated, _, info = env.step(OPEN)
    assert (reward, terminated, info["success"]) == (1.0, True, True)


def test_random_policy_never_lifts():
    env = SO101SimEnv()
    rng = np.random.default_rng(0)
    for seed in range(30):
        env.reset(seed=seed)
        ended = False
        while not ended:
            _, reward, terminated, truncated, _ = env.step(rng.uniform(-1, 1, 4))
            assert reward == 0.0
            ended = terminated or truncated


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"task": "juggle"}, r"env.task must be one of \['insert', 'lift', 'reach'\]. Got: 'juggle'"),
        ({"obs": "smell"}, "env.obs must be one of"),
        ({"cameras": ("side",)}, "env.cameras must be some of"),
        ({"cameras": ("front", "front")}, r"cameras must be some of .*, each once. Got: \('front', 'front'\)"),
        ({"image_height": 0}, "env.image_height must be positive. Got: 0"),
        ({"image_stack": 0}, "env.image_stack must be positive. Got: 0"),
        (
            {"control_hz": 7.0},
            "env.control_hz must be a rate whose period is a multiple of 0.004 s. Got: 7.0",
        ),
        ({"workspace_low_m": (0.3, 0, 0)}, "env.workspace_low_m must be three numbers below"),
    ],
)
def test_bad_settings_are_named(settings, text):
    with pytest.raises(EnvError, match=text):
        replace(SO101SimConfig(), **settings)
