"""Moves that the scripted operator's tasks share."""

from __future__ import annotations

import numpy as np

from envs.so101_model import CUBE_SIZE_M
from envs.so101_sim import PrivilegedState, SO101SimConfig

OPEN, CLOSE = 1.0, -1.0
ALIGNED_M = 0.006
"""Horizontal distance at which the tool point is above where it grasps."""
STILL_RAD_S = 0.3
"""Below this speed the jaw has finished closing: the cube has turned flat against the pads."""
_DROOP_GAIN = 0.3
"""Share of the tool point's lag behind the target that is commanded on top: the servos droop under load."""


def towards(goal: np.ndarray, state: PrivilegedState, config: SO101SimConfig, gripper: float) -> np.ndarray:
    """The action, shape (4,), that brings the tool point to ``goal`` in [m], shape (3,)."""
    move = goal - state.target + _DROOP_GAIN * (goal - state.tool)
    return np.array((*np.clip(move / config.max_step_m, -1.0, 1.0), gripper))


def beside_cube(state: PrivilegedState) -> np.ndarray:
    """x and y in [m] from which the tool point comes down over the cube.

    A turned cube is wider: the tool point moves over so that the fixed jaw still clears it.
    """
    extent = CUBE_SIZE_M / 2 * (np.cos(state.yaw) + abs(np.sin(state.yaw)))
    return np.array((state.thing[0], state.thing[1] - extent + CUBE_SIZE_M / 2))
