"""An operator made of a few rules that sees the simulator's state: it demonstrates, or helps a policy that stalls.

It sees the current episode only: never time, earlier episodes or the policy's version.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.errors import EnvError
from envs.so101_model import CUBE_SIZE_M
from envs.so101_sim import PrivilegedState, SO101SimConfig
from envs.teleop.operator import Event, OperatorInput
from envs.teleop.scripted_insert import insert_action, insert_distance, resolution_m, rounded
from envs.teleop.scripted_misses import NEAR_MISSES, NearMiss
from envs.teleop.scripted_moves import ALIGNED_M, CLOSE, OPEN, STILL_RAD_S, beside_cube, towards

_HOVER_M = 0.052
"""Height of the tool point at which the finger tips clear the cube with room to spare."""
_GRASP_M = 0.016


@dataclass(frozen=True)
class ScriptedOperatorConfig:
    """How the scripted operator behaves."""

    demonstrate: bool = False
    """Drive whole episodes, instead of helping a policy that stalls."""
    action_noise: float | None = None
    """Standard deviation of Gaussian noise on its actions, in action units; None takes ``env.operator_noise``. With
    ``insert``, where precision is what counts, all of its actions have it; else only demonstrated ones."""
    resolution_m: float | None = None
    """With ``insert``: the operator knows cube and slot to this length in [m]. None takes what a pixel of the wrist
    camera covers where ``obs=pixels``, else 0: exactly."""
    speed: float = 0.6
    """Largest move along one axis in action units: people do not drive at the limit, which leaves room to learn."""
    takeover_share: float = 0.9
    """Share of episodes in which the operator is willing to help at all."""
    stall_steps: int = 8
    """The policy stalls when over this many steps ..."""
    stall_gain_m: float = 0.004
    """... it came nearer to success by less than this, in [m]."""
    takeover_min_steps: int = 10
    """Shortest takeover in control steps."""
    takeover_max_steps: int = 40
    """Longest takeover in control steps."""

    judge_steps: int = 0
    """Steps of success in a row after which it ends an episode as a success, and of a near miss as a failure; 0 leaves
    that to others."""
    near_miss: str = ""
    """Show this near miss (envs.teleop.scripted_misses) instead of lifting; only while it demonstrates."""

    def __post_init__(self) -> None:
        if self.near_miss not in ("", *NEAR_MISSES):
            raise EnvError(
                f"ScriptedOperatorConfig.near_miss must be one of {list(NEAR_MISSES)}. Got: {self.near_miss!r}"
            )
        if not 1 <= self.takeover_min_steps <= self.takeover_max_steps:
            raise EnvError(
                "ScriptedOperatorConfig.takeover_min_steps must lie in [1, takeover_max_steps]. "
                f"Got: {self.takeover_min_steps} and {self.takeover_max_steps}"
            )


class ScriptedOperator:
    """Implements `envs.teleop.operator.Operator` for the simulated SO-101.

    Args:
        env: an environment whose ``unwrapped`` is a SO101SimEnv. Raises EnvError for another.
        config: how it behaves.
        seed: fixes everything it draws.
    """

    def __init__(self, env: Any, config: ScriptedOperatorConfig | None = None, seed: int = 0) -> None:
        self._env = env.unwrapped
        if not hasattr(self._env, "privileged_state"):
            raise EnvError(
                f"the scripted operator needs an env with privileged_state(). Got: {type(self._env).__name__}"
            )
        self._config = config or ScriptedOperatorConfig()
        world = self._env.config
        self._noise = world.operator_noise if self._config.action_noise is None else self._config.action_noise
        self._resolution_m = resolution_m(world) if self._config.resolution_m is None else self._config.resolution_m
        self._seeds = np.random.default_rng(seed)
        self.begin_episode()

    def begin_episode(self) -> None:
        """Forget the last episode and draw how this one goes."""
        self._rng = np.random.default_rng(self._seeds.integers(2**63))
        self._willing = bool(self._rng.random() < self._config.takeover_share)
        self._distances: deque[float] = deque(maxlen=self._config.stall_steps + 1)
        self._left = 0
        self._driving = False
        self._marking = False
        self._successes = 0
        near_miss, world = self._config.near_miss, self._env.config
        if near_miss and world.task != "lift":
            raise EnvError(f"the scripted operator shows near misses of env.task=lift alone. Got: {world.task!r}")
        self._miss = NearMiss(near_miss, self._rng, world) if near_miss else None

    def poll(self, observation: dict[str, np.ndarray], proposed: np.ndarray) -> OperatorInput:
        """The operator's input for this step, from the simulator's state alone."""
        state = self._env.privileged_state()
        said = self._driven(state)
        if judged := self._judged(state):
            said = replace(said, events=(*said.events, *judged))
        return said

    def _judged(self, state: PrivilegedState) -> tuple[Event, ...]:
        """What a person who looks on says of the state: where it begins and ends to look like success, and an end."""
        self._successes = self._successes + 1 if state.success else 0
        events: tuple[Event, ...] = ()
        if state.success != self._marking:
            self._marking, events = state.success, (Event.MARK,)
        if self._config.judge_steps and self._successes >= self._config.judge_steps:
            events += (Event.SUCCESS,)
        elif self._miss is not None and self._miss.shown >= self._config.judge_steps > 0:
            events += (Event.FAILURE,)
        return events

    def _driven(self, state: PrivilegedState) -> OperatorInput:
        insert = self._env.config.task == "insert"
        if insert and self._resolution_m:
            state = rounded(state, self._resolution_m)
        if self._config.demonstrate:
            return self._drive(state, self._noise)
        if self._driving and self._left == 0:
            self._driving = False
            self._distances.clear()
            return OperatorInput(events=(Event.RELEASE,), doing="letting the policy go on")
        if not self._driving and not (self._willing and self._stalled(state)):
            return OperatorInput()
        if not self._driving:
            config = self._config
            self._left = int(self._rng.integers(config.takeover_min_steps, config.takeover_max_steps + 1))
        self._left -= 1
        return self._drive(state, self._noise if insert else 0.0)

    def between_episodes(self) -> OperatorInput:
        return OperatorInput(events=(Event.READY,))

    def close(self) -> None:
        pass

    def _drive(self, state: PrivilegedState, noise: float) -> OperatorInput:
        events = () if self._driving else (Event.INTERVENE,)
        self._driving = True
        config = self._env.config
        action, doing = _ACTIONS[config.task](state, config)
        if self._miss is not None:
            action, doing = self._miss.action(state, action)
        action[:3] = np.clip(action[:3], -self._config.speed, self._config.speed)
        if noise:
            action = action + self._rng.normal(0.0, noise, action.shape)
        return OperatorInput(np.clip(action, -1.0, 1.0).astype(np.float32), events, doing)

    def _stalled(self, state: PrivilegedState) -> bool:
        """True where the last ``stall_steps`` steps brought success nearer by less than ``stall_gain_m``."""
        self._distances.append(distance_to_success(state, self._env.config))
        if len(self._distances) <= self._config.stall_steps:
            return False
        return self._distances[0] - self._distances[-1] < self._config.stall_gain_m


def distance_to_success(state: PrivilegedState, config: SO101SimConfig) -> float:
    """How far the tool point is from the cube or goal, and the cube from where it must go, added up in [m]."""
    if config.task == "insert":
        return insert_distance(state)
    distance = float(np.linalg.norm(state.thing - state.tool))
    if config.task == "lift":
        distance += max(0.0, config.lift_height_m + CUBE_SIZE_M / 2 - float(state.thing[2]))
    return distance


def reach_action(state: PrivilegedState, config: SO101SimConfig) -> tuple[np.ndarray, str]:
    """The action, shape (4,), that brings the tool point to the goal, and what that is in words."""
    return towards(state.thing, state, config, OPEN), "moving to the goal"


def lift_action(state: PrivilegedState, config: SO101SimConfig) -> tuple[np.ndarray, str]:
    """The action, shape (4,), that lifts the cube from any state in which it can be, and what that is in words."""
    cube, tool = state.thing, state.tool
    x, y = beside_cube(state)
    off = np.array((x, y)) - tool[:2]
    closing = state.gripper < 0.6
    low = tool[2] < cube[2] + 0.012
    between = abs(off[0]) < 0.012 and -0.010 < cube[1] - tool[1] < 0.010
    if state.held and low and abs(state.gripper_speed) < STILL_RAD_S:
        return towards(np.array((*tool[:2], config.workspace_high_m[2])), state, config, CLOSE), "lifting the cube"
    aligned = bool(np.abs(off).max() < ALIGNED_M)
    if low and (aligned or (closing and between)):
        hold = np.array((*tool[:2], max(_GRASP_M, float(cube[2]))))
        return towards(hold, state, config, CLOSE), "closing the gripper on the cube"
    if aligned and state.gripper > 0.6:
        return towards(np.array((x, y, _GRASP_M)), state, config, OPEN), "lowering the open gripper over the cube"
    if tool[2] < _HOVER_M - 0.010 and np.abs(off).max() > ALIGNED_M:
        up = np.array((*tool[:2], _HOVER_M + 0.01))
        return towards(up, state, config, OPEN), "opening and backing off to try again"
    return towards(np.array((x, y, _HOVER_M)), state, config, OPEN), "moving above the cube"


_ACTIONS = {"insert": insert_action, "lift": lift_action, "reach": reach_action}
