"""What the scripted operator shows a reward classifier of ``lift`` besides successes: near misses and failures.

Hard negatives are what keeps a policy from finding a pose that merely looks like success.
"""

from __future__ import annotations

import numpy as np

from envs.so101_model import CUBE_SIZE_M
from envs.so101_sim import PrivilegedState, SO101SimConfig
from envs.teleop.scripted_moves import CLOSE, OPEN, towards

NEAR_MISSES = {
    "almost": "almost succeed, and stop short of it",
    "air": "go through the motions without the thing: close the gripper on air, and lift",
    "drop": "begin to succeed, then let go",
}
"""Kinds of near misses, and what a person is asked to do."""

ALMOST_M = (0.010, 0.045)
"""Lowest and highest lift of a near miss, of the 50 mm that succeed."""
_BESIDE_M = (0.035, 0.06)
"""How far beside the cube the gripper closes on air."""
_GRASP_M = 0.016
_HOLD_STEPS = 6


class NearMiss:
    """One near miss of ``lift``, drawn when it is made.

    Args:
        kind: Of NEAR_MISSES.
        rng: Draws how high, or where beside the cube.
        config: Of the environment.

    Attributes:
        shown: Steps for which it has been plain to see.
    """

    def __init__(self, kind: str, rng: np.random.Generator, config: SO101SimConfig) -> None:
        self._kind, self._config = kind, config
        self._height_m = rng.uniform(*ALMOST_M)
        angle = rng.uniform(0, 2 * np.pi)
        self._beside = rng.uniform(*_BESIDE_M) * np.array((np.cos(angle), np.sin(angle)))
        self._place: np.ndarray | None = None
        self._held_steps = 0
        self.shown = 0

    def action(self, state: PrivilegedState, lifting: np.ndarray) -> tuple[np.ndarray, str]:
        """The action, shape (4,), and what it is in words. ``lifting`` is what a successful lift would do."""
        return self._air(state) if self._kind == "air" else self._short(state, lifting)

    def _short(self, state: PrivilegedState, lifting: np.ndarray) -> tuple[np.ndarray, str]:
        up_m = float(state.thing[2]) - CUBE_SIZE_M / 2
        if not state.held or up_m < 0.004:
            dropped = self._kind == "drop" and self._held_steps > _HOLD_STEPS
            self.shown += dropped
            return (self._open(state), "letting go of it") if dropped else (lifting, "closing on the cube")
        self._held_steps += up_m > self._height_m - 0.005
        self.shown += self._kind == "almost" and up_m > self._height_m - 0.005
        if self._kind == "drop" and self._held_steps > _HOLD_STEPS:
            return self._open(state), "letting go of it"
        goal = np.array((*state.tool[:2], state.tool[2] + self._height_m - up_m))
        return towards(goal, state, self._config, CLOSE), "lifting it, not far enough"

    def _open(self, state: PrivilegedState) -> np.ndarray:
        return towards(np.array((*state.tool[:2], self._config.workspace_high_m[2])), state, self._config, OPEN)

    def _air(self, state: PrivilegedState) -> tuple[np.ndarray, str]:
        low, high = (np.array(side[:2]) for side in (self._config.workspace_low_m, self._config.workspace_high_m))
        if self._place is None:
            aside = state.thing[:2] + self._beside
            inside = bool((aside > low).all() and (aside < high).all())
            self._place = np.clip(aside if inside else state.thing[:2] - self._beside, low, high)
        off = np.abs(self._place - state.tool[:2]).max()
        if state.gripper < -0.6 or (self._held_steps and state.gripper < 0.3):
            self.shown += 1
            return towards(np.array((*self._place, 0.13)), state, self._config, CLOSE), "lifting nothing"
        if off < 0.008 and state.tool[2] < _GRASP_M + 0.008:
            self._held_steps += 1
            return towards(np.array((*self._place, _GRASP_M)), state, self._config, CLOSE), "closing on air"
        height = _GRASP_M if off < 0.008 else 0.052
        return towards(np.array((*self._place, height)), state, self._config, OPEN), "moving beside the cube"
