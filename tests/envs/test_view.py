"""The live view, looked at as a browser does."""

import socket
import time
import urllib.request

import imageio.v3 as imageio
import numpy as np
import pytest

from envs.errors import EnvError
from envs.generic import GymConfig
from envs.registry import env_config_type, make_env
from envs.view import LiveView


def next_frame(stream) -> np.ndarray:
    length = 0
    while line := stream.readline().strip():
        if line.lower().startswith(b"content-length"):
            length = int(line.split(b":")[1])
    body = stream.read(length)
    stream.readline()
    return imageio.imread(body, extension=".jpg")


@pytest.mark.parametrize("name", ["so101_sim", "gym"])
def test_browser_sees_the_robot_move_and_control_does_not_wait(name) -> None:
    config = GymConfig(id="Hopper-v5") if name == "gym" else env_config_type(name)()
    env = make_env(name, config)
    env.reset(seed=1)
    view = LiveView(env, 0)
    try:
        assert b"/stream" in urllib.request.urlopen(view.url, timeout=20).read()
        with urllib.request.urlopen(view.url + "stream", timeout=20) as stream:
            before = [next_frame(stream) for _ in range(3)][-1]
            assert before.shape == (480, 640, 3)
            assert before.std() > 5
            slowest = 0.0
            for _ in range(30):
                env.step(np.ones(env.action_space.shape, np.float32))
                start = time.perf_counter()
                view.show()
                slowest = max(slowest, time.perf_counter() - start)
            after = [next_frame(stream) for _ in range(4)][-1]
        assert np.abs(after.astype(int) - before).max() > 60
        assert slowest < 0.05
    finally:
        view.close()
        env.close()


def test_taken_port_and_environment_without_a_model_are_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        env = make_env("gym", GymConfig(id="Reacher-v5"))
        with pytest.raises(EnvError, match=rf"port {other.getsockname()[1]} for the view is taken"):
            LiveView(env, other.getsockname()[1])
    with pytest.raises(EnvError, match=r"only MuJoCo environments can be viewed live\. Got: PendulumEnv"):
        LiveView(make_env("gym", GymConfig()), 0)
