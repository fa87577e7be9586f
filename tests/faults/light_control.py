"""The control process with a policy that needs no torch: everything else of it is what a user runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import numpy as np

from actor.control_main import main


class LightPilot:
    """Draws actions; a policy is JSON that says its version."""

    hands_off = False

    def __init__(self, newest: Callable[[float], bytes | memoryview | None], *, seed: int = 0, **_: object) -> None:
        self.version, self.ready = 0, False
        self._newest = newest
        self._random = np.random.default_rng(seed)

    def refresh(self, spare_s: float = 0.0) -> None:
        payload = self._newest(spare_s)
        if payload is not None:
            self.version, self.ready = json.loads(bytes(payload))["version"], True

    def begin_episode(self, observation: object) -> None:
        pass

    def observe(self, observation: object) -> None:
        pass

    def propose(self) -> np.ndarray:
        return self._random.uniform(-1, 1, 2).astype(np.float32)

    def expressed(self, action: np.ndarray) -> np.ndarray:
        return action


if __name__ == "__main__":
    sys.exit(main(lambda device, threads: LightPilot))
