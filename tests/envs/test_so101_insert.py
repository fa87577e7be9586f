"""The insert task: where things start, when it is done, what is shown of it, and the written rule of its play."""

import json
import re
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.errors import EnvError
from envs.mujoco_gl import load_mujoco
from envs.so101_insert import RELEASED_STEPS, SLOT_HIGH_M, SLOT_LOW_M, Insert
from envs.so101_interface import SO101SimConfig, observation_features
from envs.so101_model import CUBE_SIZE_M, SLOT_FRICTION, SLOT_WALL_HEIGHT_M, SLOT_WALL_M
from envs.so101_sim import SO101SimEnv
from envs.so101_tasks import LEFT_WORKSPACE

OPEN, CLOSED = np.array([0, 0, 0, 1], np.float32), np.array([0, 0, 0, -1], np.float32)


def place_cube(env, position, yaw=0.0, tilt=0.0):
    """Move the cube there, at rest, turned about z and leaning about x."""
    joint = env.model.joint("cube")
    turn, lean = (
        np.array((np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))),
        np.array((np.cos(tilt / 2), np.sin(tilt / 2), 0, 0)),
    )
    quaternion = np.empty(4)
    load_mujoco().mju_mulQuat(quaternion, turn, lean)
    env.data.qpos[joint.qposadr[0] :][:7] = (*position, *quaternion)
    env.data.qvel[joint.dofadr[0] :][:6] = 0
    load_mujoco().mj_forward(env.model, env.data)


def place_slot(env, position):
    env.data.mocap_pos[env.model.body("slot").mocapid[0]] = position
    load_mujoco().mj_forward(env.model, env.data)


def started(seed=0, **settings):
    env = SO101SimEnv(task="insert", **settings)
    env.reset(seed=seed)
    return env


def test_registered_and_accepted_by_gymnasium():
    for obs in ("state", "proprio", "pixels"):
        env = gym.make("tandem/SO101Insert-v0", obs=obs, image_width=32, image_height=24, render_mode="rgb_array")
        assert env.unwrapped.config.task == "insert"
        assert env.unwrapped.config.step_limit == 120
        check_env(env.unwrapped, skip_render_check=True)
        env.close()


def test_the_usual_play_is_what_the_rule_gave():
    given = json.loads((Path(__file__).resolve().parents[2] / "docs" / "play.json").read_text())["play_mm"]
    for obs, play_mm in given.items():
        assert SO101SimConfig(task="insert", obs=obs).slot_play_m == pytest.approx(play_mm / 1000)
    assert SO101SimConfig(task="insert", obs="state", play_mm=6.0).slot_play_m == pytest.approx(0.006)


@pytest.mark.parametrize("play_mm", [2.0, 8.0])
def test_the_slot_is_as_wide_high_and_slippery_as_asked(play_mm):
    model = started(play_mm=play_mm).model
    walls = [i for i in range(model.ngeom) if model.geom_bodyid[i] == model.body("slot").id]
    assert len(walls) == 4
    inner = CUBE_SIZE_M + play_mm / 1000
    for wall in walls:
        assert model.geom_pos[wall, 2] + model.geom_size[wall, 2] == pytest.approx(SLOT_WALL_HEIGHT_M)
        axis = int(np.argmax(np.abs(model.geom_pos[wall, :2])))
        inside = abs(model.geom_pos[wall, axis]) - model.geom_size[wall, axis]
        assert 2 * inside == pytest.approx(inner, abs=1e-6)
        assert 2 * model.geom_size[wall, axis] == pytest.approx(SLOT_WALL_M)
    env = started(play_mm=play_mm)
    slot = env.privileged_state().slot
    place_cube(env, (slot[0] + play_mm / 2000 + 0.0002, slot[1], CUBE_SIZE_M / 2 + 0.001))
    touching = {tuple(sorted(pair)): i for i, pair in enumerate(env.data.contact.geom.tolist())}
    cube = env.model.geom("cube").id
    frictions = [
        env.data.contact.friction[i][0] for pair, i in touching.items() if cube in pair and set(pair) & set(walls)
    ]
    assert frictions
    assert frictions == pytest.approx([SLOT_FRICTION] * len(frictions))


def test_cube_and_slot_start_apart_and_in_their_ranges():
    env = SO101SimEnv(task="insert")
    starts = []
    for seed in range(60):
        env.reset(seed=seed)
        state = env.privileged_state()
        starts.append((*state.thing[:2], *state.slot[:2]))
    starts = np.array(starts)
    low, high = np.array((*Insert.cube_low_m, *SLOT_LOW_M)), np.array((*Insert.cube_high_m, *SLOT_HIGH_M))
    assert (starts >= low).all()
    assert (starts <= high).all()
    assert (np.ptp(starts, axis=0) > 0.8 * (high - low)).all()
    env.reset(seed=3)
    np.testing.assert_array_equal(env.privileged_state().slot[:2], starts[3, 2:])


def test_success_is_a_released_cube_in_the_slot_after_two_steps():
    env = started()
    slot = env.privileged_state().slot
    place_cube(env, (*slot[:2], CUBE_SIZE_M / 2))
    results = [env.step(OPEN)[1:] for _ in range(RELEASED_STEPS)]
    assert [r[0] for r in results] == [0.0] * (RELEASED_STEPS - 1) + [1.0]
    assert [r[1] for r in results] == [False] * (RELEASED_STEPS - 1) + [True]
    assert results[-1][-1]["success"]


def test_looking_at_the_state_is_no_step_towards_success():
    env = started()
    place_cube(env, (*env.privileged_state().slot[:2], CUBE_SIZE_M / 2))
    for _ in range(RELEASED_STEPS - 1):
        env.step(OPEN)
        assert not any(env.privileged_state().success for _ in range(3))
    env.step(OPEN)
    assert env.privileged_state().success


@pytest.mark.parametrize(
    ("off", "done"),
    [((0.0029, 0, 0), True), ((0.0031, 0, 0), False), ((0, -0.0031, 0), False), ((0, 0, 0.003), False)],
)
def test_placed_is_within_half_the_play_and_a_bit_and_seated(off, done):
    env = started(play_mm=3.0)
    slot = env.privileged_state().slot
    place_cube(env, np.add(slot, (0, 0, CUBE_SIZE_M / 2)) + off)
    assert env._task.placed() == done


def test_a_leaning_cube_is_not_placed_and_one_on_another_face_is():
    env = started()
    position = np.add(env.privileged_state().slot, (0, 0, CUBE_SIZE_M / 2))
    place_cube(env, position, tilt=0.12)
    assert env.privileged_state().tilt == pytest.approx(0.12, abs=1e-6)
    assert not env._task.placed()
    place_cube(env, position, tilt=np.pi / 2)
    assert env._task.placed()


def test_a_closed_gripper_is_no_success_and_opening_is_counted_anew():
    env = started()
    for _ in range(8):
        env.step(CLOSED)
    slot = env.privileged_state().slot
    place_cube(env, (*slot[:2], CUBE_SIZE_M / 2))
    for _ in range(5):
        assert not env.step(CLOSED)[2]
    assert env._task.placed()
    steps = 0
    while not env.step(OPEN)[2]:
        steps += 1
        assert steps < 10
    assert steps >= 1
    env.reset(seed=1)
    slot = env.privileged_state().slot
    place_cube(env, (*slot[:2], CUBE_SIZE_M / 2))
    assert not env.step(OPEN)[2]


def test_a_cube_dropped_beside_the_slot_stays_out():
    env = started(play_mm=2.0)
    slot = env.privileged_state().slot
    place_cube(env, (slot[0] + 0.006, slot[1], CUBE_SIZE_M / 2 + SLOT_WALL_HEIGHT_M + 0.001))
    for _ in range(8):
        assert not env.step(OPEN)[2]
    assert env.privileged_state().thing[2] > CUBE_SIZE_M / 2 + 0.002


def test_a_cube_dropped_above_the_slot_falls_in():
    env = started(play_mm=2.0)
    slot = env.privileged_state().slot
    place_cube(env, (slot[0] + 0.0005, slot[1], CUBE_SIZE_M / 2 + SLOT_WALL_HEIGHT_M + 0.001))
    assert any(env.step(OPEN)[2] for _ in range(8))


def test_a_cube_that_leaves_ends_the_episode():
    env = started()
    place_cube(env, (0.20, 0.14, 0.015))
    _, reward, terminated, _, info = env.step(OPEN)
    assert (reward, terminated, info["failure"]) == (0.0, True, LEFT_WORKSPACE)


def test_state_names_the_26_numbers_it_shows():
    env = started(seed=4)
    place_cube(env, (0.22, 0.05, 0.05), yaw=0.1, tilt=0.2)
    place_slot(env, (0.20, 0.058, 0.0))
    (feature,) = env._features
    shown = dict(zip(feature.components, env._observe()["observation.state"], strict=True))
    state = env.privileged_state()
    assert len(shown) == 26
    for axis, name in enumerate("xyz"):
        assert shown[f"cube_minus_tool.{name}"] == pytest.approx(state.thing[axis] - state.tool[axis], abs=1e-6)
        off = (0.02, -0.008, 0.05)[axis]
        assert shown[f"cube_minus_slot.{name}"] == pytest.approx(off, abs=1e-6)
        assert shown[f"cube_minus_slot_near.{name}"] == pytest.approx(np.clip(off, -0.01, 0.01), abs=1e-6)
        assert shown[f"target_minus_tool.{name}"] == pytest.approx(state.target[axis] - state.tool[axis], abs=1e-6)
    assert (shown["slot.x"], shown["slot.y"]) == pytest.approx((0.20, 0.058), abs=1e-6)
    assert shown["cube.z"] == pytest.approx(0.05, abs=1e-6)
    assert np.hypot(shown["cube.up.x"], shown["cube.up.y"]) == pytest.approx(np.sin(0.2), abs=1e-5)
    assert shown["cube.sin_4yaw"] == pytest.approx(np.sin(4 * state.yaw), abs=1e-5)


def test_neither_cube_nor_slot_is_in_what_pixels_and_proprio_show_beside_the_images():
    env = started(obs="pixels")
    before = env._observe()
    place_cube(env, (0.24, -0.07, 0.015))
    moved_cube = env._observe()
    place_slot(env, (0.18, 0.09, 0.0))
    moved_slot = env._observe()
    for after in (moved_cube, moved_slot):
        for name in ("observation.state", "observation.command"):
            np.testing.assert_array_equal(before[name], after[name])
    for camera in ("front", "wrist"):
        name = f"observation.images.{camera}"
        assert (before[name] != moved_cube[name]).any()
        assert (moved_cube[name] != moved_slot[name]).any()
    words = [c for f in observation_features(env.config) for c in f.components]
    assert not [word for word in words if re.search("cube|slot", word)]
    *_, info = env.step(OPEN)
    assert set(info) == {"sent_action", "success"}
    env.close()


@pytest.mark.parametrize("camera", ["front"])
def test_every_start_of_cube_and_slot_is_in_view_and_stands_out(camera):
    """Red of the cube and blue of the walls, each in more pixels than a wall's width."""
    env = started(obs="pixels", image_width=64, image_height=64)
    for x in (0, 1):
        for y in (0, 1):
            cube = np.array((Insert.cube_low_m, Insert.cube_high_m))[(x, y), (0, 1)]
            slot = np.array((SLOT_LOW_M, SLOT_HIGH_M))[(x, y), (0, 1)]
            place_slot(env, (*slot, 0.0))
            place_cube(env, (*cube, CUBE_SIZE_M / 2))
            red, green, blue = env._observe()[f"observation.images.{camera}"].astype(int).transpose(2, 0, 1)
            assert ((red > 90) & (red > 2 * blue) & (red > 3 * green)).sum() > 30
            walls = (blue > 90) & (blue > 1.8 * red)
            assert walls.sum() > 25
            assert not (walls[0] | walls[-1]).any()
            assert not (walls[:, 0] | walls[:, -1]).any()
    env.close()


def test_equal_seeds_give_identical_rollouts():
    def rollout(env, seed):
        rng = np.random.default_rng(seed)
        seen = [env.reset(seed=seed)[0]["observation.state"]]
        return seen + [env.step(rng.uniform(-1, 1, 4))[0]["observation.state"] for _ in range(25)]

    first, second = SO101SimEnv(task="insert"), SO101SimEnv(task="insert")
    rollout(second, 8)
    np.testing.assert_array_equal(rollout(first, 7), rollout(second, 7))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"play_mm": -1.0}, r"env.play_mm must be 0 or more. Got: -1.0"),
        ({"operator_noise": -0.1}, r"env.operator_noise must be 0 or more. Got: -0.1"),
    ],
)
def test_bad_settings_are_named(settings, text):
    with pytest.raises(EnvError, match=text):
        replace(SO101SimConfig(task="insert"), **settings)
