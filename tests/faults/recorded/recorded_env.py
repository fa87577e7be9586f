"""An environment that writes down every ``env.step`` that returns, independently of the spool and the log."""

import os
import time
from zlib import crc32

import gymnasium as gym
import numpy as np


class RecordedEnv(gym.Env):
    """Its observation names the episode (two numbers of 24 bits, new in every one) and the step, and holds one random
    number. The last thing a step does is to append one line, with a checksum, to the file RECORD_PATH.
    """

    observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = gym.spaces.Box(-2.0, 2.0, (2,), np.float32)

    def __init__(self, step_s: float = 0.004) -> None:
        self._step_s = step_s
        path = os.environ.get("RECORD_PATH", os.devnull)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._episode = [float(int.from_bytes(os.urandom(3))) for _ in range(2)]
        self._steps = 0
        return self._observe(), {}

    def step(self, action):
        time.sleep(self._step_s)
        self._steps += 1
        observation = self._observe()
        high, low = self._episode
        line = f"{high:.0f} {low:.0f} {self._steps} {crc32(observation.tobytes()):08x}"
        os.write(self._file, f"{line} {crc32(line.encode()):08x}\n".encode())
        return observation, float(observation[3]), False, False, {}

    def close(self):
        os.close(self._file)

    def _observe(self):
        return np.array([*self._episode, self._steps, self.np_random.random()], np.float32)
