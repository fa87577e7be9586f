"""What the cameras of the simulated SO-101 see, and what is said where nothing can be rendered."""

import os
import subprocess
import sys

import numpy as np
import pytest

from envs.so101_sim import SO101SimEnv


def test_both_cameras_see_the_cube_at_the_start():
    env = SO101SimEnv(obs="pixels")
    for seed in range(10):
        observation, _ = env.reset(seed=seed)
        for camera in env.config.cameras:
            red, green, blue = observation[f"observation.images.{camera}"].astype(int).transpose(2, 0, 1)
            assert ((red > 100) & (green < 60) & (blue < 70)).sum() > 40, (camera, seed)
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
