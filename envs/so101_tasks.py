"""What the simulated SO-101 is asked to do: where things start, what the policy is shown of them, when it is done."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from envs.mujoco_gl import load_mujoco
from envs.so101_interface import NEAR_M, SO101SimConfig
from envs.so101_model import CUBE_SIZE_M

CUBE_LOW_M, CUBE_HIGH_M = (0.175, -0.08), (0.25, 0.08)
"""Where the cube starts: x and y of its centre in [m]."""
GOAL_LOW_M, GOAL_HIGH_M = (0.17, -0.09, 0.03), (0.26, 0.09, 0.12)
"""Where the goal of ``reach`` lies: x, y, z in [m]."""
LEFT_WORKSPACE = "cube left the workspace"


class Task(Protocol):
    """One task on one MjData."""

    def place(self, rng: np.random.Generator) -> None:
        """Put the task's thing where this episode starts, before kinematics are computed."""

    def position(self) -> np.ndarray:
        """Centre of the cube or the goal in [m], shape (3,)."""

    def yaw(self) -> float:
        """Rotation of the cube about z in [rad], in [-pi/4, pi/4): a cube looks the same every quarter turn."""

    def outcome(self, tool: np.ndarray) -> tuple[bool, str]:
        """Whether the task is done, and why it can no longer be done (empty where it can)."""


class Lift:
    """Lift the cube and hold it between both pads."""

    def __init__(self, config: SO101SimConfig, model: Any, data: Any) -> None:
        self._config, self._data = config, data
        self._mujoco = load_mujoco()
        self._body = model.body("cube").id
        self._qpos = model.joint("cube").qposadr[0]
        self._cube = model.geom("cube").id
        self._pads = {model.geom("fixed_pad").id, model.geom("moving_pad").id}
        self._low, self._high = np.array(config.workspace_low_m[:2]), np.array(config.workspace_high_m[:2])

    def place(self, rng: np.random.Generator) -> None:
        x, y = rng.uniform(CUBE_LOW_M, CUBE_HIGH_M)
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

    def held(self) -> bool:
        """True where both pads touch the cube."""
        pairs = self._data.contact.geom
        touching = pairs[(pairs == self._cube).any(axis=1)]
        return self._pads <= set(touching.ravel().tolist())

    def outcome(self, tool: np.ndarray) -> tuple[bool, str]:
        cube = self._data.xpos[self._body]
        if (cube[:2] < self._low).any() or (cube[:2] > self._high).any() or cube[2] < 0.0:
            return False, LEFT_WORKSPACE
        high = cube[2] - CUBE_SIZE_M / 2 >= self._config.lift_height_m
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

    def outcome(self, tool: np.ndarray) -> tuple[bool, str]:
        return bool(np.linalg.norm(self.position() - tool) < self._config.reach_tolerance_m), ""


def relative_state(
    task: Task, tool: np.ndarray, target: np.ndarray, gripper: tuple[float, float, float], *, with_cube: bool
) -> np.ndarray:
    """The ``obs=state`` vector: (16,) with a cube, (9,) with a goal; positions in [m], angles in [rad].

    Args:
        tool: measured tool point, shape (3,).
        target: commanded tool point, shape (3,).
        gripper: its position in [rad], velocity in [rad/s] and command in [-1, 1].
        with_cube: include what only a cube needs.
    """
    thing = task.position()
    relative = thing - tool
    near = np.minimum(np.maximum(relative, -NEAR_M), NEAR_M)
    if not with_cube:
        return np.concatenate((relative, near, target - tool))
    yaw = 4.0 * task.yaw()
    middle = (tool[2], *gripper, thing[2], np.sin(yaw), np.cos(yaw))
    return np.concatenate((relative, near, middle, target - tool))
