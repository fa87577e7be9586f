"""What the scripted operator does with the insert task: grasp high, carry, aim, lower, let go; and start over."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from envs.so101_insert import POSITION_TOLERANCE_M, SEATED_M
from envs.so101_interface import SO101SimConfig, derive_contract
from envs.so101_model import (
    CUBE_SIZE_M,
    FRONT_CAMERA,
    SLOT_WALL_HEIGHT_M,
    WRIST_CAMERA,
)
from envs.so101_sim import PrivilegedState
from envs.teleop.scripted_moves import ALIGNED_M, CLOSE, OPEN, STILL_RAD_S, beside_cube, towards
from episodes.contract import IMAGE_PREFIX

_GRIP_M = 0.007
"""Height of the tool point above the cube's centre in a grasp: the pads then clear the slot's walls."""
_HOVER_M = 0.045
"""Height of the tool point above the cube's centre at which the finger tips clear the cube with room to spare."""
_CARRY_M = 0.012
"""How far the carried cube clears the slot's walls."""
_NEAR_SLOT_M = 0.012
"""Horizontal distance from the slot within which a low cube is on its way in, or stuck on a wall."""
_TILTED_RAD = 0.25
"""A gripped cube that leans by more than this does not go into the slot."""
_ASIDE_M = 0.06
"""How far from the slot's middle a leaning cube is put down."""
_JAMMED_M = 0.003
"""The commanded point is this far below the tool point where a wall holds the cube up; else servos droop below it."""


def insert_action(state: PrivilegedState, config: SO101SimConfig) -> tuple[np.ndarray, str]:
    """The action, shape (4,), that puts the cube into the slot from any state in which it can be, and what that is.

    It aims with the commanded point: the measured one tells nothing more where the cube leans on a wall.
    """
    assert state.slot is not None
    cube, tool, slot = state.thing, state.tool, state.slot
    off = cube[:2] - slot[:2]
    reach = config.slot_play_m / 2 + POSITION_TOLERANCE_M
    bottom = float(cube[2]) - CUBE_SIZE_M / 2
    if np.abs(off).max() <= reach and bottom <= SEATED_M:
        return _straight(tool[2], state, config, OPEN), "letting go of the cube"
    gripped = state.held and tool[2] < cube[2] + _GRIP_M + 0.008 and abs(state.gripper_speed) < STILL_RAD_S
    if not gripped:
        return _grasp(state, config)
    grip = tool - cube
    if state.tilt > _TILTED_RAD:
        return _put_down(state, config)
    above = slot[:2] + grip[:2]
    near = bool(np.abs(off).max() < _NEAR_SLOT_M)
    aimed = bool(np.abs(state.target[:2] - above).max() <= reach)
    jammed = bool(tool[2] - state.target[2] > _JAMMED_M)
    high = float(grip[2] + CUBE_SIZE_M / 2 + SLOT_WALL_HEIGHT_M + _CARRY_M)
    if near and jammed and bottom < SLOT_WALL_HEIGHT_M + 0.002:
        return towards(np.array((*above, tool[2])), state, config, OPEN), "letting go of the jammed cube"
    if near and aimed:
        goal = np.array((*above, grip[2] + CUBE_SIZE_M / 2 - 0.004))
        return towards(goal, state, config, CLOSE), "lowering the cube into the slot"
    if near and bottom < SLOT_WALL_HEIGHT_M - 0.002:
        return towards(np.array((*above, tool[2])), state, config, CLOSE), "easing the cube into the slot"
    if bottom < SLOT_WALL_HEIGHT_M + 0.003 and not near:
        return _straight(high, state, config, CLOSE), "lifting the cube"
    return towards(np.array((*above, high)), state, config, CLOSE), "carrying the cube above the slot"


def _put_down(state: PrivilegedState, config: SO101SimConfig) -> tuple[np.ndarray, str]:
    """Drops a cube that leans in the gripper on the free table beside the slot, where it falls flat."""
    assert state.slot is not None
    tool = state.tool
    aside = np.subtract(state.slot[:2], (0.0, _ASIDE_M))
    if np.abs(aside - tool[:2]).max() > ALIGNED_M:
        high = float(tool[2] - state.thing[2] + CUBE_SIZE_M / 2 + SLOT_WALL_HEIGHT_M + 2 * _CARRY_M)
        across = tool[:2] if tool[2] < high - 0.01 else aside
        return towards(np.array((*across, high)), state, config, CLOSE), "carrying the leaning cube away"
    if tool[2] - state.target[2] > _JAMMED_M:
        return _straight(tool[2], state, config, OPEN), "dropping the leaning cube"
    return towards(np.array((*aside, 0.0)), state, config, CLOSE), "putting the leaning cube down"


def _grasp(state: PrivilegedState, config: SO101SimConfig) -> tuple[np.ndarray, str]:
    cube, tool = state.thing, state.tool
    goal = beside_cube(state)
    off = goal - tool[:2]
    height = tool[2] - cube[2]
    closing = state.gripper < 0.6
    aligned = bool(np.abs(off).max() < ALIGNED_M)
    between = abs(off[0]) < 0.012 and abs(cube[1] - tool[1]) < 0.010
    low = height < _GRIP_M + 0.006
    grasp_z = float(cube[2]) + _GRIP_M
    if closing and state.gripper_speed > STILL_RAD_S:
        return _straight(tool[2], state, config, OPEN), "opening the gripper"
    if low and (aligned or between) and (closing or height > _GRIP_M - 0.006):
        return _straight(grasp_z, state, config, CLOSE), "closing the gripper on the cube"
    if aligned and not closing:
        return towards(np.array((*goal, grasp_z)), state, config, OPEN), "lowering the open gripper over the cube"
    if height < _HOVER_M - 0.010 and np.abs(off).max() > ALIGNED_M:
        up = float(cube[2]) + _HOVER_M + 0.01
        return _straight(up, state, config, OPEN), "opening and backing off to try again"
    return towards(np.array((*goal, cube[2] + _HOVER_M)), state, config, OPEN), "moving above the cube"


def _straight(height: float, state: PrivilegedState, config: SO101SimConfig, gripper: float) -> np.ndarray:
    """The action, shape (4,), that moves up or down alone, the tool point to ``height`` in [m].

    The commanded point stays where it is across: moving it to the tool point, which lags it, would let both drift.
    """
    action = towards(np.array((*state.tool[:2], height)), state, config, gripper)
    action[:2] = 0.0
    return action


def insert_distance(state: PrivilegedState) -> float:
    """How far success is: tool to cube, cube to slot, and, once above it, cube to floor, added up in [m]."""
    assert state.slot is not None
    off = state.thing[:2] - state.slot[:2]
    across = float(np.hypot(*off))
    down = float(state.thing[2]) - CUBE_SIZE_M / 2 if across < _NEAR_SLOT_M else 0.03
    grip = np.add(state.thing, (0.0, 0.0, _GRIP_M))
    return float(np.linalg.norm(grip - state.tool)) + across + max(0.0, down)


def resolution_m(config: SO101SimConfig) -> float:
    """What one pixel of the sharpest camera that the policy has covers where that camera looks, in [m].

    0 without images: everything is then known exactly.
    """
    cameras = {f"{IMAGE_PREFIX}front": FRONT_CAMERA[config.task], f"{IMAGE_PREFIX}wrist": WRIST_CAMERA}
    images = [feature for feature in derive_contract(config).stored if feature.is_image]
    return min((_pixel_m(*cameras[image.name], image.shape[0]) for image in images), default=0.0)


def _pixel_m(position: tuple[float, ...], look_at: tuple[float, ...], fovy_deg: float, height: int) -> float:
    return 2.0 * math.dist(position, look_at) * math.tan(math.radians(fovy_deg / 2)) / height


def rounded(state: PrivilegedState, resolution_m: float) -> PrivilegedState:
    """The state with cube and slot where a camera of this resolution shows them; their angle in steps to match."""
    angle = resolution_m / CUBE_SIZE_M
    return replace(
        state,
        thing=_round(state.thing, resolution_m),
        slot=None if state.slot is None else _round(state.slot, resolution_m),
        yaw=float(_round(np.array(state.yaw), angle)),
    )


def _round(values: np.ndarray, step: float) -> np.ndarray:
    return np.round(values / step) * step
