"""Keys pressed and released, turned into motion and events; a press counts however short it was."""

from __future__ import annotations

import threading

import numpy as np

from envs.teleop.device_state import DeviceState, with_taps
from envs.teleop.keys import EVENTS, GRIPPER, MOTION, SPEEDS, TAKE_OVER
from envs.teleop.operator import Event


class KeyLatch:
    """The state between two readings. Listeners call ``press`` and ``release`` from their own thread.

    The first motion or gripper key takes over, as ``space`` does; only ``space`` hands back, so a pause between two
    keys does not return the arm to the policy. Opposite keys cancel.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._down: set[str] = set()
        self._presses = np.zeros(6, np.uint64)
        self._read = np.zeros(6, np.uint64)
        self._events: list[Event] = []
        self._gripper = np.nan
        self._intervening = False
        self._speed = SPEEDS["2"]

    def press(self, key: str) -> None:
        """A key went down. Repeats of a held key change nothing."""
        with self._lock:
            if key in self._down:
                return
            self._down.add(key)
            if key in MOTION:
                self._take_over()
                axis, sign = MOTION[key]
                if (axis, -sign) not in {MOTION[k] for k in self._down & MOTION.keys()}:
                    self._presses[2 * axis + (sign < 0)] += 1
            elif key in GRIPPER:
                self._take_over()
                self._gripper = float(GRIPPER[key])
            elif key == TAKE_OVER:
                self._hand_back() if self._intervening else self._take_over()
            elif key in EVENTS:
                self._events.append(EVENTS[key])
            elif key in SPEEDS:
                self._speed = SPEEDS[key]

    def release(self, key: str) -> None:
        with self._lock:
            self._down.discard(key)

    def release_all(self) -> None:
        """No key is held; presses and events already seen still count."""
        with self._lock:
            self._down.clear()

    def snapshot(self, *, armed: bool, lost: bool, reason: str = "") -> DeviceState:
        """Reads the state; events and presses since the last call are handed out once. A lost device moves nothing."""
        with self._lock:
            if lost:
                self._down.clear()
            pressed, self._read = self._presses > self._read, self._presses.copy()
            held: np.ndarray = np.zeros(4, np.float32)
            for key in self._down & MOTION.keys():
                axis, sign = MOTION[key]
                held[axis] += sign
            held = np.clip(held, -1, 1) * np.float32(self._speed)
            held[3] = self._gripper
            action = held.copy() if lost else with_taps(held, pressed, self._speed)
            events, self._events = tuple(self._events), []
            return DeviceState(
                action, held, self._presses.copy(), self._speed, self._intervening, events, armed, lost, reason
            )

    def _take_over(self) -> None:
        if not self._intervening:
            self._intervening = True
            self._events.append(Event.INTERVENE)

    def _hand_back(self) -> None:
        self._intervening = False
        self._gripper = np.nan
        self._events.append(Event.RELEASE)
