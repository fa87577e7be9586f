"""The insert task: the cube is set into a walled slot placed at random, and released."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.so101_interface import NEAR_SLOT_M, SO101SimConfig
from envs.so101_model import CUBE_SIZE_M
from envs.so101_tasks import LEFT_WORKSPACE, Lift, coarse_and_near

SLOT_LOW_M, SLOT_HIGH_M = (0.17, 0.04), (0.25, 0.10)
"""Where the slot lies: x and y of its middle in [m]."""
POSITION_TOLERANCE_M = 0.0015
"""A seated cube lies within half the play and this of the slot's middle, along x and along y."""
SEATED_M = 0.002
"""A seated cube is at most this far above the table."""
UPRIGHT_RAD = 0.1
"""An upright cube leans by at most this angle."""
RELEASED_RAD = 0.40
"""The gripper is open from this angle of its joint on: 0.1 rad wider than at the cube."""
RELEASED_STEPS = 2
"""Control steps in a row for which a placed cube must be released."""


class Insert(Lift):
    """Set the cube into the slot, seated and upright, and open the gripper."""

    cube_low_m, cube_high_m = (0.16, -0.10), (0.26, -0.02)

    def __init__(self, config: SO101SimConfig, model: Any, data: Any) -> None:
        super().__init__(config, model, data)
        self._mocap = model.body("slot").mocapid[0]
        self._gripper = model.joint("gripper").qposadr[0]
        self._tolerance_m = config.slot_play_m / 2 + POSITION_TOLERANCE_M
        self._released_steps = 0

    def place(self, rng: np.random.Generator) -> None:
        super().place(rng)
        self._data.mocap_pos[self._mocap] = (*rng.uniform(SLOT_LOW_M, SLOT_HIGH_M), 0.0)
        self._released_steps = 0

    def slot(self) -> np.ndarray:
        return self._data.mocap_pos[self._mocap]

    def placed(self) -> bool:
        """True where the cube is in the slot, seated and upright."""
        off = self.position() - self.slot()
        seated = off[2] <= CUBE_SIZE_M / 2 + SEATED_M
        return bool(seated and np.abs(off[:2]).max() <= self._tolerance_m and self.tilt() <= UPRIGHT_RAD)

    def state(self, tool: np.ndarray, target: np.ndarray, gripper: tuple[float, float, float]) -> np.ndarray:
        cube, slot = self.position(), self.slot()
        rotation = self._data.xmat[self._body]
        yaw = 4.0 * self.yaw()
        middle = (tool[2], *gripper, cube[2], np.sin(yaw), np.cos(yaw), rotation[2], rotation[5], *slot[:2])
        return np.concatenate(
            (*coarse_and_near(cube - tool), *coarse_and_near(cube - slot, NEAR_SLOT_M), middle, target - tool)
        )

    def outcome(self, tool: np.ndarray) -> tuple[bool, str]:
        if self.left_workspace():
            return False, LEFT_WORKSPACE
        released = self._data.qpos[self._gripper] >= RELEASED_RAD and self.placed()
        self._released_steps = self._released_steps + 1 if released else 0
        return self._released_steps >= RELEASED_STEPS, ""
