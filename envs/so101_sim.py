"""The simulated SO-101 as a gymnasium environment.

An action moves the *commanded* target of the tool point, not the measured one, so that a steady action is a steady
speed however the arm lags. Clamps depend on the commanded target and the tool point alone. With
``obs=proprio`` and ``obs=pixels`` the observation shows both; with ``obs=state`` it shows one relative to the other,
not where they are in the workspace box, so that what the box cuts off is not observed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np

from envs.errors import EnvError
from envs.kinematics import ArmKinematics
from envs.mujoco_gl import load_mujoco
from envs.so101_appearance import Appearance
from envs.so101_cameras import Cameras
from envs.so101_insert import Insert
from envs.so101_interface import (
    ACTION,
    COMMAND,
    STATE,
    TASKS,
    SO101SimConfig,
    action_feature,
    derive_contract,
    observation_features,
)
from envs.so101_model import (
    ARM_JOINTS,
    GRIPPER_CLOSED_RAD,
    GRIPPER_OPEN_RAD,
    JOINTS,
    build_mjcf,
)
from envs.so101_tasks import Lift, Reach, Task
from episodes.contract import IMAGE_PREFIX, Feature

__all__ = ["PrivilegedState", "SO101SimConfig", "SO101SimEnv", "derive_contract", "make"]

_ARM = len(ARM_JOINTS)
_SEED_JOINTS_RAD = (0.0, -0.28, 0.18, 1.6, 1.62)
"""Where inverse kinematics starts searching: gripper down, in front of the base."""
_HOME_M, _HOME_SPREAD_M = (0.20, 0.0, 0.10), (0.025, 0.04, 0.02)
"""Middle and half width of the box in which the tool point starts."""
_IK_ITERATIONS = 2
"""In a control step: its target is at most one step from where the last one left off."""


@dataclass(frozen=True)
class PrivilegedState:
    """What only a simulator knows, for the scripted operator and for tests. Lengths in [m], base frame."""

    tool: np.ndarray
    """Measured tool point, shape (3,)."""
    target: np.ndarray
    """Commanded tool point, shape (3,)."""
    thing: np.ndarray
    """Centre of the cube or the goal, shape (3,)."""
    slot: np.ndarray | None
    """Middle of the slot's floor, shape (3,); None where there is no slot."""
    yaw: float
    """Rotation of the cube about z, in [-pi/4, pi/4) [rad]."""
    tilt: float
    """Angle between the vertical and the nearest axis of the cube [rad]; 0 for a goal."""
    gripper: float
    """Opening of the gripper: -1 closed, +1 open."""
    gripper_speed: float
    """Speed of the gripper joint, positive while opening [rad/s]."""
    held: bool
    """True where both pads touch the cube."""
    success: bool
    """True where the task is done."""


class SO101SimEnv(gym.Env):
    """An SO-101 in front of a table.

    Observation: Dict of the contract's features (see ``observation_features``). Action: float32 Box(-1, 1, (4,)), the
    move of the commanded target along x, y, z and the gripper command, -1 closed to +1 open. Reward: 1.0 on success,
    which terminates the episode, else 0. ``info`` after a step:
        sent_action: the action executed after all clamps, in the same units, float32, shape (4,).
        success: True on the step that reached the goal.
        failure: why the episode ended without success, only where it did; ``cube left the workspace``.

    Attributes:
        model: the MjModel, named as in gymnasium's MuJoCo environments; read only.
        data: the MjData that is stepped; read only.

    Args:
        config: the environment's settings.
        render_mode: None or ``rgb_array``.
        **settings: fields of SO101SimConfig that replace those of ``config``.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (gymnasium's convention)

    def __init__(self, config: SO101SimConfig | None = None, render_mode: str | None = None, **settings: Any) -> None:
        self.config = replace(config or SO101SimConfig(), **settings)
        if render_mode not in (None, "rgb_array"):
            raise EnvError(f"render_mode must be None or 'rgb_array'. Got: {render_mode!r}")
        self.render_mode = render_mode
        config = self.config
        self.metadata = {**type(self).metadata, "render_fps": config.control_hz}
        self._features = observation_features(config)
        # Pairs, because gymnasium sorts the keys of a mapping.
        self.observation_space = gym.spaces.Dict([(f.name, _box(f)) for f in self._features])
        self.action_space = _box(action_feature(config))
        self._mujoco = load_mujoco()
        self.model = self._mujoco.MjModel.from_xml_string(build_mjcf(config.task, config.slot_play_m))
        self.data = self._mujoco.MjData(self.model)
        self._appearance = Appearance(config, self.model)
        self._kinematics = ArmKinematics(self.model)
        kinds: dict[str, type[Lift] | type[Reach]] = {"insert": Insert, "lift": Lift, "reach": Reach}
        self._task: Task = kinds[config.task](config, self.model, self.data)
        site = self.model.site("tool").id
        self._tool, self._rotation = self.data.site_xpos[site], self.data.site_xmat[site]
        self._low, self._high = np.array(config.workspace_low_m), np.array(config.workspace_high_m)
        self._bounds = {f.name: (_float32(f.low), _float32(f.high)) for f in self._features if not f.is_image}
        self._cameras = Cameras(self.model, config.image_height, config.image_width)
        self._viewer = Cameras(self.model, config.render_height, config.render_width, beauty=True)
        self._target: np.ndarray = np.zeros(3)
        self._joints: np.ndarray = np.array(_SEED_JOINTS_RAD)
        self._gripper_command = 1.0
        self._steps, self._succeeded = 0, False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode; ``seed`` fixes its start state completely."""
        super().reset(seed=seed)
        data, rng = self.data, self.np_random
        self._mujoco.mj_resetData(self.model, data)
        spread = np.array(_HOME_SPREAD_M)
        start = np.clip(np.array(_HOME_M) + rng.uniform(-spread, spread), self._low, self._high)
        self._joints = self._kinematics.inverse(start, np.array(_SEED_JOINTS_RAD), max_iterations=30).joints
        self._target = start
        self._gripper_command = 1.0
        data.qpos[: len(JOINTS)] = (*self._joints, GRIPPER_OPEN_RAD)
        data.ctrl[:] = (*self._joints, GRIPPER_OPEN_RAD)
        self._task.place(rng)
        self._appearance.draw(rng)
        self._mujoco.mj_forward(self.model, data)
        self._steps, self._succeeded = 0, False
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One control step. Raises EnvError, naming the key, for an action of a wrong shape or that is not finite."""
        sent = self._command(action)
        self._mujoco.mj_step(self.model, self.data, self.config.substeps)
        # mj_step leaves positions of the last substep's start behind; observations must show its end.
        self._mujoco.mj_kinematics(self.model, self.data)
        self._steps += 1
        success, failure = self._task.outcome(self._tool)
        self._succeeded = success
        info: dict[str, Any] = {"sent_action": sent, "success": success}
        if failure:
            info["failure"] = failure
        terminated = success or bool(failure)
        truncated = self._steps >= self.config.step_limit
        return self._observe(), float(success), terminated, truncated, info

    def _command(self, action: np.ndarray) -> np.ndarray:
        """Move the commanded target and the gripper; returns the action after clamps, float32, shape (4,)."""
        chosen = np.asarray(action, dtype=np.float64)
        if chosen.shape != (4,):
            raise EnvError(f"{ACTION} must have shape (4,). Got: {chosen.shape}")
        if not np.isfinite(chosen).all():
            raise EnvError(f"{ACTION} must be finite. Got: {chosen.tolist()}")
        chosen = np.minimum(np.maximum(chosen, -1.0), 1.0)
        tool = np.minimum(np.maximum(self._tool, self._low), self._high)
        lead = self._target + self.config.max_step_m * chosen[:3] - tool
        length = float(np.sqrt(lead @ lead))
        if length > self.config.target_lead_m:
            lead *= self.config.target_lead_m / length
        target = np.minimum(np.maximum(tool + lead, self._low), self._high)
        moved = (target - self._target) / self.config.max_step_m
        self._target = target
        self._joints = self._kinematics.inverse(target, self._joints, max_iterations=_IK_ITERATIONS).joints
        self._gripper_command = float(chosen[3])
        self.data.ctrl[:_ARM] = self._joints
        self.data.ctrl[_ARM] = _gripper_rad(self._gripper_command)
        return np.clip((*moved, chosen[3]), -1.0, 1.0).astype(np.float32)

    def _observe(self) -> dict[str, np.ndarray]:
        data, config = self.data, self.config
        if config.obs == "state":
            gripper = (data.qpos[_ARM], data.qvel[_ARM], self._gripper_command)
            vectors = {STATE: self._task.state(self._tool, self._target, gripper)}
        else:
            state = (data.qpos[: len(JOINTS)], data.qvel[: len(JOINTS)], self._tool, _roll_pitch_yaw(self._rotation))
            vectors = {
                STATE: np.concatenate(state),
                COMMAND: np.array((*self._target, self._gripper_command)),
            }
        observation = {
            name: np.clip(vector.astype(np.float32), *self._bounds[name]) for name, vector in vectors.items()
        }
        if config.obs == "pixels":
            self._mujoco.mj_camlight(self.model, data)
            for camera in config.cameras:
                observation[f"{IMAGE_PREFIX}{camera}"] = self._cameras.image(data, camera)
        return observation

    def privileged_state(self) -> PrivilegedState:
        """What only a simulator knows; never part of an observation with ``obs=proprio`` or ``obs=pixels``."""
        opening = (self.data.qpos[_ARM] - GRIPPER_CLOSED_RAD) / (GRIPPER_OPEN_RAD - GRIPPER_CLOSED_RAD)
        return PrivilegedState(
            tool=self._tool.copy(),
            target=self._target.copy(),
            thing=self._task.position().copy(),
            slot=None if (slot := self._task.slot()) is None else slot.copy(),
            yaw=self._task.yaw(),
            tilt=self._task.tilt(),
            gripper=float(2.0 * opening - 1.0),
            gripper_speed=float(self.data.qvel[_ARM]),
            held=self._task.held(),
            success=self._succeeded,
        )

    def render(self) -> np.ndarray | None:
        """The whole scene with shadows, uint8, shape (render_height, render_width, 3)."""
        if self.render_mode is None:
            return None
        self._mujoco.mj_camlight(self.model, self.data)
        return self._viewer.image(self.data, "scene")

    def close(self) -> None:
        self._cameras.close()
        self._viewer.close()


def make(config: SO101SimConfig, render_mode: str | None = None) -> SO101SimEnv:
    """The environment of a config. It needs no wrapper: the time limit is its own."""
    return SO101SimEnv(config, render_mode)


def _box(feature: Feature) -> gym.spaces.Box:
    if feature.is_image:
        return gym.spaces.Box(0, 255, feature.shape, np.uint8)
    return gym.spaces.Box(_float32(feature.low), _float32(feature.high), dtype=np.float32)


def _float32(bounds: tuple[float, ...]) -> np.ndarray:
    return np.array(bounds, np.float32)


def _gripper_rad(command: float) -> float:
    return GRIPPER_CLOSED_RAD + (command + 1.0) / 2.0 * (GRIPPER_OPEN_RAD - GRIPPER_CLOSED_RAD)


def _roll_pitch_yaw(rotation: np.ndarray) -> tuple[float, float, float]:
    """Angles about x, then y, then z in [rad] of a rotation matrix given as nine numbers, row by row."""
    pitch = np.arcsin(min(1.0, max(-1.0, -rotation[6])))
    return np.arctan2(rotation[7], rotation[8]), pitch, np.arctan2(rotation[3], rotation[0])


for _task in TASKS:
    _name = f"tandem/SO101{_task.capitalize()}-v0"
    if _name not in gym.registry:
        gym.register(id=_name, entry_point="envs.so101_sim:SO101SimEnv", kwargs={"task": _task})
