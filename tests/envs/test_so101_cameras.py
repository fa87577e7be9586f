"""What the cameras of the simulated SO-101 see, and what is said where nothing can be rendered."""

import os
import subprocess
import sys

import numpy as np
import pytest

from envs.mujoco_gl import load_mujoco
from envs.registry import derive_contract, make_env
from envs.so101_sim import SO101SimConfig, SO101SimEnv


def test_both_cameras_see_the_cube_at_the_start():
    env = SO101SimEnv(obs="pixels")
    for seed in range(10):
        observation, _ = env.reset(seed=seed)
        for camera in env.config.cameras:
            red, green, blue = observation[f"observation.images.{camera}"].astype(int).transpose(2, 0, 1)
            assert ((red > 100) & (green < 60) & (blue < 70)).sum() > 10, (camera, seed)
    env.close()


def seen_with_the_cube_at(position, *, blanked):
    """The observation of an arm that stands still, with the cube put somewhere and the cameras covered or not."""
    env = make_env("so101_sim", SO101SimConfig(obs="pixels"))
    robot = env.unwrapped
    if blanked:
        robot._cameras.image = lambda data, camera: np.zeros((64, 64, 3), np.uint8)
    env.reset(seed=0)
    joint = robot.model.joint("cube")
    robot.data.qpos[joint.qposadr[0] :][:7] = (*position, 1, 0, 0, 0)
    robot.data.qvel[joint.dofadr[0] :][:6] = 0
    load_mujoco().mj_forward(robot.model, robot.data)
    observation, _, _, _, info = env.step(np.array([0, 0, 0, 1], np.float32))
    env.close()
    assert set(info) == {"sent_action", "success"}
    return observation


HERE, THERE = (0.24, -0.07, 0.015), (0.20, 0.08, 0.015)


def test_privileged_state_reaches_the_policy_through_the_cameras_alone():
    """PEERS defect 18: the cube's pose leaked into observations. With the cameras blanked nothing else changes."""
    here, there = (seen_with_the_cube_at(place, blanked=True) for place in (HERE, THERE))
    assert set(here) == {f.name for f in derive_contract("so101_sim", SO101SimConfig(obs="pixels")).stored}
    for name in here:
        np.testing.assert_array_equal(here[name], there[name], err_msg=name)


def test_the_cameras_show_where_the_cube_is():
    here, there = (seen_with_the_cube_at(place, blanked=False) for place in (HERE, THERE))
    differing = {name for name in here if (here[name] != there[name]).any()}
    assert differing == {"observation.images.front", "observation.images.wrist"}


@pytest.mark.parametrize("cameras", [("front",), ("wrist",), ("wrist", "front")])
def test_any_cameras_of_any_size_in_the_order_given(cameras):
    config = SO101SimConfig(obs="pixels", cameras=cameras, image_height=36, image_width=48, image_stack=3)
    contract = derive_contract("so101_sim", config)
    env = make_env("so101_sim", config)
    observation, _ = env.reset(seed=1)
    names = [f"observation.images.{camera}" for camera in cameras]
    assert (
        list(observation) == [f.name for f in contract.stored] == ["observation.state", "observation.command", *names]
    )
    for name in names:
        assert observation[name].shape == (36, 48, 3)
        assert contract.view.stack(name) == 3
    env.close()


def test_render_is_for_people_and_lazy():
    assert SO101SimEnv().render() is None
    env = SO101SimEnv(render_mode="rgb_array", render_width=160, render_height=120)
    env.reset(seed=0)
    assert env._viewer._renderer is None
    image = env.render()
    assert (image.shape, image.dtype) == ((120, 160, 3), np.uint8)
    assert image.std() > 10
    env.close()


@pytest.mark.parametrize("broken", ["disable", "no_library", "no_display"])
def test_missing_opengl_is_one_clear_error_and_state_needs_none(broken):
    """In a fresh process: MuJoCo picks its backend once."""
    hide = (
        "import ctypes; real = ctypes.CDLL.__init__\n"
        "def fake(self, name, *a, **k):\n"
        "    if 'EGL' in str(name): raise OSError(name)\n"
        "    real(self, name, *a, **k)\n"
        "ctypes.CDLL.__init__ = fake\n"
    )
    code = (
        "import numpy as np; from envs.so101_sim import SO101SimEnv; from envs.mujoco_gl import RenderError\n"
        "env = SO101SimEnv(); env.reset(seed=0); env.step(np.zeros(4))\n"
        "try: SO101SimEnv(obs='pixels').reset(seed=0)\n"
        "except RenderError as error: print(error)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "DISPLAY", "PYOPENGL_PLATFORM")}
    if broken != "no_library":
        environment["MUJOCO_GL"] = {"disable": "disable", "no_display": "glfw"}[broken]
    source = (hide if broken == "no_library" else "") + code
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True, check=True)
    assert "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri" in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1
