"""What the simulated SO-101 is asked to do: where things start, what the policy is shown of them, when it is done."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from envs.mujoco_gl import load_mujoco
from envs.so101_interface import NEAR_M, SO101SimConfig
from envs.so101_model import CUBE_SIZE_M

CUBE_LOW_M, CUBE_HIGH_M = (0.175, -0.08), (0.25, 0.08)
"""Where the cube of ``lift`` starts: x and y of its centre in [m]."""
GOAL_LOW_M, GOAL_HIGH_M = (0.17, -0.09, 0.03), (0.26, 0.09, 0.12)
"""Where the goal of ``reach`` lies: x, y, z in [m]."""
LEFT_WORKSPACE = "cube left the workspace"


class Task(Protocol):
    """One task on one MjData."""

    def place(self, rng: np.random.Generator) -> None:
        """Put the task's things where this episode starts, before kinematics are computed."""

    def position(self) -> np.ndarray:
        """Centre of the cube or the goal in [m], shape (3,)."""

    def yaw(self) -> float:
        """Rotation of the cube about z in [rad], in [-pi/4, pi/4): a cube looks the same every quarter turn."""

    def tilt(self) -> float:
        """Angle between the vertical and the nearest axis of the cube [rad]; 0 for a goal."""

    def slot(self) -> np.ndarray | None:
        """Middle of the slot's floor in [m], shape (3,); None where there is no slot."""

    def held(self) -> bool:
        """True where both pads touch the cube."""

    def state(self, tool: np.ndarray, target: np.ndarray, gripper: tuple[float, float, float]) -> np.ndarray:
        """The ``obs=state`` vector; positions in [m], angles in [rad]. envs.so101_interface names its numbers.

        Args:
            tool: measured tool point, shape (3,).
            target: commanded tool point, shape (3,).
            gripper: its position in [rad], velocity in [rad/s] and command in [-1, 1].
        """

    def outcome(self, tool: np.ndarray) -> tuple[bool, str]:
        """Whether the task is done, and why it can no longer be done (empty where it can). Asked once a step."""


class Lift:
    """Lift the cube and hold it between both pads."""

    cube_low_m, cube_high_m = CUBE_LOW_M, CUBE_HIGH_M

    def __init__(self, config: SO101SimConfig, model: Any, data: Any) -> None:
        self._config, self._data = config, data
        self._mujoco = load_mujoco()
        self._body = model.body("cube").id
        self._qpos = model.joint("cube").qposadr[0]
        self._cube = model.geom("cube").id
        self._pads = {model.geom("fixed_pad").id, model.geom("moving_pad").id}
        self._low, self._high = np.array(config.workspace_low_m[:2]), np.array(config.workspace_high_m[:2])

    def place(self, rng: np.random.Generator) -> None:
        x, y = rng.uniform(self.cube_low_m, self.cube_high_m)
        limit = np.deg2rad(self._config.cube_yaw_deg)
        yaw = rng.uniform(-limit, limit)
        pose = (x, y, CUBE_SIZE_M / 2, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
        self._data.qpos[self._qpos : self._qpos + 7] = pose

    def position(self) -> np.ndarray:
        return self._data.xpos[self._body]

    def yaw(self) -> float:
        rotation = self._data.xmat[self._body]
        yaw = np.arctan2(rotation[3], rotation[0])
        return float((yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4)

    def tilt(self) -> float:
        return float(np.arccos(min(1.0, np.abs(self._data.xmat[self._body][6:]).max())))

    def slot(self) -> np.ndarray | None:
        return None

    def held(self) -> bool:
        pairs = self._data.contact.geom
        touching = pairs[(pairs == self._cube).any(axis=1)]
        return self._pads <= set(touching.ravel().tolist())

    def state(self, tool: np.ndarray, target: np.ndarray, gripper: tuple[float, float, float]) -> np.ndarray:
        cube = self.position()
        yaw = 4.0 * self.yaw()
        middle = (tool[2], *gripper, cube[2], np.sin(yaw), np.cos(yaw))
        return np.concatenate((*coarse_and_near(cube - tool), middle, target - tool))

    def left_workspace(self) -> bool:
        """True where the cube is out of the robot's reach or below the table."""
        cube = self.position()
        return bool((cube[:2] < self._low).any() or (cube[:2] > self._high).any() or cube[2] < 0.0)

    def outcome(self, tool: np.ndarray) -> tuple[bool, str]:
        if self.left_workspace():
            return False, LEFT_WORKSPACE
        high = self.position()[2] - CUBE_SIZE_M / 2 >= self._config.lift_height_m
        return bool(high) and self.held(), ""


class Reach:
    """Bring the tool point to the goal marker."""

    def __init__(self, config: SO101SimConfig, model: Any, data: Any) -> None:
        self._config, self._data = config, data

    def place(self, rng: np.random.Generator) -> None:
        self._data.mocap_pos[0] = rng.uniform(GOAL_LOW_M, GOAL_HIGH_M)

    def position(self) -> np.ndarray:
        return self._data.mocap_pos[0]

    def yaw(self) -> float:
        return 0.0

    def tilt(self) -> float:
        return 0.0

    def slot(self) -> np.ndarray | None:
        return None

    def held(self) -> bool:
        return False

    def state(self, tool: np.ndarray, target: np.ndarray, gripper: tuple[float, float, float]) -> np.ndarray:
        return np.concatenate((*coarse_and_near(self.position() - tool), target - tool))

    def outcome(self, tool: np.ndarray) -> tuple[bool, str]:
        return bool(np.linalg.norm(self.position() - tool) < self._config.reach_tolerance_m), ""


def coarse_and_near(relative: np.ndarray, near_m: float = NEAR_M) -> tuple[np.ndarray, np.ndarray]:
    """A relative position in [m], and the same clipped to ``near_m``, where a few millimetres fill the scale."""
    return relative, np.minimum(np.maximum(relative, -near_m), near_m)
