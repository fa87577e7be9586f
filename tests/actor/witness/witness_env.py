"""An environment that writes down every ``env.step`` that returned, independently of the spool and the log."""

import os
import time

import gymnasium as gym
import numpy as np


class WitnessEnv(gym.Env):
    """Counts its steps in its observation. One line per returned step goes to the file WITNESS_PATH."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gym.spaces.Box(-2.0, 2.0, (2,), np.float32)

    def __init__(self, step_s: float = 0.0, nan_at: int = -1, fail_at: int = -1) -> None:
        self._step_s, self._nan_at, self._fail_at = step_s, nan_at, fail_at
        self._file = os.open(os.environ["WITNESS_PATH"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._episode = float(self.np_random.integers(1 << 20))
        self._steps = 0
        return self._observe(), {}

    def step(self, action):
        if self._step_s:
            time.sleep(self._step_s)
        self._steps += 1
        if self._steps == self._fail_at:
            raise RuntimeError("the witness was told to fail")
        os.write(self._file, f"{self._episode:.0f} {self._steps}\n".encode())
        observation = self._observe()
        if self._steps == self._nan_at:
            observation[2] = np.nan
        return observation, float(self._steps), False, False, {}

    def close(self):
        os.close(self._file)

    def _observe(self):
        return np.array([self._episode, self._steps, 0.5], np.float32)


class WitnessCameraEnv(WitnessEnv):
    """A witness with a camera that loses frames of an episode, or gives smaller ones from a step of its life on."""

    observation_space = gym.spaces.Dict(
        {
            "front": gym.spaces.Box(0, 255, (48, 64, 3), np.uint8),
            "state": gym.spaces.Box(-np.inf, np.inf, (3,), np.float32),
        }
    )

    def __init__(self, gone_from: int = -1, gone_steps: int = 0, smaller_from: int = -1) -> None:
        super().__init__()
        self._gone = range(gone_from, gone_from + gone_steps)
        self._smaller_from, self._life = smaller_from, 0

    def step(self, action):
        self._life += 1
        return super().step(action)

    def _observe(self):
        observation = {"state": super()._observe(), "front": np.full((48, 64, 3), self._steps, np.uint8)}
        if self._steps in self._gone:
            del observation["front"]
        elif 0 <= self._smaller_from <= self._life:
            observation["front"] = observation["front"][::2, ::2]
        return observation
