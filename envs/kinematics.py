"""Forward and inverse kinematics of the SO-101 arm on a scratch MjData.

Inverse kinematics is damped least squares over six rows for five joints: three for the position of the tool point and
three soft ones that ask for a gripper that points down, its moving jaw towards the world's +y. The soft rows weigh
little, so that where both cannot be had the position wins. Nothing is kept between calls: equal arguments give equal
results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.mujoco_gl import load_mujoco
from envs.so101_model import ARM_JOINTS

_SOFT_WEIGHT_M = 0.01
"""What one radian of wrong orientation weighs, in metres of wrong position."""
_DAMPING = 2e-4
_MAX_STEP_RAD = 0.3


@dataclass(frozen=True)
class Solution:
    """What inverse kinematics found."""

    joints: np.ndarray
    """Arm joint positions in [rad], within their ranges. Shape (5,)."""
    error_m: float
    """Distance left between the tool point and the target, in [m]."""
    tilt_rad: float
    """Angle left between the gripper and the world's down, in [rad]."""
    converged: bool
    """True where error_m is within the tolerance asked for."""


class ArmKinematics:
    """Kinematics of the tool point. Not safe to share between threads: the scratch MjData is written to.

    Args:
        model: an MjModel with the joints of ARM_JOINTS first and a site named ``tool``.
    """

    def __init__(self, model: Any) -> None:
        self._mujoco = mujoco = load_mujoco()
        self._model = model
        self._data = mujoco.MjData(model)
        self._site = model.site("tool").id
        self._count = len(ARM_JOINTS)
        self._low, self._high = model.jnt_range[: self._count].T.copy()
        self._jacp = np.zeros((3, model.nv))
        self._jacr = np.zeros((3, model.nv))
        self._position = self._data.site_xpos[self._site]
        self._rotation = self._data.site_xmat[self._site].reshape(3, 3)

    def forward(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tool point in [m], shape (3,), and the gripper's rotation matrix, shape (3, 3), for joints (5,) in [rad]."""
        self._data.qpos[: self._count] = joints
        self._mujoco.mj_kinematics(self._model, self._data)
        return self._position.copy(), self._rotation.copy()

    def inverse(
        self, target: np.ndarray, start: np.ndarray, *, max_iterations: int = 20, tolerance_m: float = 2e-4
    ) -> Solution:
        """Joints that bring the tool point to ``target``.

        Args:
            target: position of the tool point in [m], shape (3,).
            start: joints to search from in [rad], shape (5,).
            max_iterations: most steps to take; a target one control step away needs two or three.
            tolerance_m: distance in [m] at which the search ends.
        """
        mujoco, model, data, n = self._mujoco, self._model, self._data, self._count
        joints = np.clip(start, self._low, self._high)
        jacobian, error = np.empty((6, n)), np.empty(6)
        for iteration in range(max_iterations + 1):
            data.qpos[:n] = joints
            mujoco.mj_kinematics(model, data)
            rotation = self._rotation
            error[:3] = target - self._position
            # Small-angle rotation about x and y that takes the gripper's z to the world's, and about z for its x.
            error[3] = _SOFT_WEIGHT_M * rotation[1, 2]
            error[4] = -_SOFT_WEIGHT_M * rotation[0, 2]
            error[5] = _SOFT_WEIGHT_M * rotation[0, 0]
            distance = float(np.sqrt(error[:3] @ error[:3]))
            if iteration == max_iterations or (
                distance < tolerance_m and np.abs(error[3:]).max() < _SOFT_WEIGHT_M * 1e-3
            ):
                break
            mujoco.mj_comPos(model, data)
            mujoco.mj_jacSite(model, data, self._jacp, self._jacr, self._site)
            jacobian[:3] = self._jacp[:, :n]
            np.multiply(self._jacr[:, :n], _SOFT_WEIGHT_M, out=jacobian[3:])
            step = _damped_least_squares(jacobian, error)
            outside = (joints + step < self._low) | (joints + step > self._high)
            if outside.any():
                step = self._step_within(jacobian, error, step, outside, joints)
            largest = np.abs(step).max()
            if largest > _MAX_STEP_RAD:
                step *= _MAX_STEP_RAD / largest
            before, joints = joints, np.clip(joints + step, self._low, self._high)
            if np.abs(joints - before).max() < 1e-6:
                break
        tilt = float(np.arccos(np.clip(self._rotation[2, 2], -1.0, 1.0)))
        return Solution(joints, distance, tilt, distance < tolerance_m)

    def _step_within(
        self, jacobian: np.ndarray, error: np.ndarray, step: np.ndarray, outside: np.ndarray, joints: np.ndarray
    ) -> np.ndarray:
        """The step with the joints that would leave their range moved to its end, the others taking up the rest."""
        held = np.where(outside, np.clip(joints + step, self._low, self._high) - joints, 0.0)
        rest = _damped_least_squares(jacobian * ~outside, error - jacobian @ held)
        return np.where(outside, held, rest)


def _damped_least_squares(jacobian: np.ndarray, error: np.ndarray) -> np.ndarray:
    normal = jacobian.T @ jacobian
    normal.flat[:: normal.shape[0] + 1] += _DAMPING
    return np.linalg.solve(normal, jacobian.T @ error)
