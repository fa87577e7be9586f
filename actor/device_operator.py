"""A person at a device whose listener lives in the comms process: read here from shared memory, without a system call.

The listener counts every event and every press, so a tap shorter than a control period is never lost; it also says how
lately it has seen its device. A device that stops answering means hold, until it answers again and the person says how
to go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from actor.shared import Board
from envs.teleop.device_state import AXES, DeviceState, TapReader
from envs.teleop.operator import Event, OperatorInput
from episodes.commands import command_component, gripper_component
from episodes.contract import Interface

EVENTS = tuple(Event)
LOST_AFTER_S = 0.5


def publish(board: Board, state: DeviceState) -> None:
    """The listener's side: one reading into the board. A lost device falls silent there."""
    comms = board.comms
    comms["device_reason"] = state.reason.encode()[:120]
    if state.lost:
        return
    comms["device_held"] = state.held
    comms["device_presses"] = state.presses
    comms["device_speed"] = state.speed
    comms["device_armed"] = state.armed
    comms["device_driving"] = state.intervening
    for event in state.events:
        comms["device_events"][EVENTS.index(event)] += np.uint64(1)
    comms["device_beat_ns"] = time.monotonic_ns()


class DeviceOperator:
    """The control loop's side, an Operator: three axes onto the first action components, the fourth onto the gripper.

    Args:
        board: Shared with the comms process.
        interface: Of the environment; ``episodes.commands`` says which component is the gripper.
        clock_ns: Monotonic nanoseconds, the same clock in both processes.
    """

    def __init__(self, board: Board, interface: Interface, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._comms = board.comms
        self._clock_ns = clock_ns
        self._size = interface.action.shape[0]
        self._gripper = gripper_component(interface)
        self._axes = [i for i in range(self._size) if i != self._gripper][: AXES - 1]
        self._command = None if self._gripper is None else command_component(interface, self._gripper)
        self._gripper_action = 0.0
        self._seen = np.array(self._comms["device_events"])
        self._taps = TapReader()
        self._lost = False

    def begin_episode(self) -> None:
        pass

    def poll(self, observation: dict[str, np.ndarray], proposed: np.ndarray) -> OperatorInput:
        events = self._events()
        moved = self._moved()
        silent = self._silent
        resolved = {Event.INTERVENE, Event.RELEASE, Event.READY} & set(events)
        self._lost = silent or (self._lost and not resolved)
        if self._lost:
            reason = self._comms["device_reason"].item().decode(errors="replace")
            doing = f"input device lost ({reason}): holding" if silent else "input device is back: take over or release"
            return OperatorInput(events=events, doing=doing, lost=True)
        if self._command is not None:
            name, index = self._command
            self._gripper_action = float(observation[name][index])
        if not self._comms["device_driving"]:
            return OperatorInput(events=events, doing="" if self._comms["device_armed"] else "keys do not count now")
        action = np.zeros(self._size, np.float32)
        action[self._axes] = moved[: len(self._axes)]
        if self._gripper is not None:
            if np.isfinite(moved[3]):
                self._gripper_action = float(moved[3])
            action[self._gripper] = self._gripper_action
        return OperatorInput(action=action, events=events, doing="you are driving")

    def between_episodes(self) -> OperatorInput:
        self._moved()  # keys tapped while waiting must not move the arm at the first step
        events = self._events()
        self._lost = self._silent or (self._lost and Event.READY not in events)
        waiting = "input device lost: holding" if self._silent else "waiting for you: reset the scene, then say ready"
        return OperatorInput(events=events, doing=waiting, lost=self._silent)

    def close(self) -> None:
        pass

    def _moved(self) -> np.ndarray:
        """What the motion keys said since the last call, (4,)."""
        return self._taps.action(
            np.array(self._comms["device_held"]),
            np.array(self._comms["device_presses"]),
            float(self._comms["device_speed"]),
        )

    @property
    def _silent(self) -> bool:
        return self._clock_ns() - int(self._comms["device_beat_ns"]) > LOST_AFTER_S * 1e9

    def _events(self) -> tuple[Event, ...]:
        now = np.array(self._comms["device_events"])
        fresh, self._seen = now - self._seen, now
        return tuple(event for event, count in zip(EVENTS, fresh, strict=False) for _ in range(int(count)))
