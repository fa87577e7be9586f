"""What an input device says, in a form that crosses shared memory without losing a short press."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from envs.teleop.operator import Event

AXES = 4
"""x, y, z of the tool, gripper."""


def unmoved() -> np.ndarray:
    """No motion, and the gripper as it was."""
    return np.array([0.0, 0.0, 0.0, np.nan], np.float32)


@dataclass(frozen=True)
class DeviceState:
    """One reading of an input device.

    Attributes:
        action: x, y, z and gripper in [-1, 1], float32 of shape (4,): keys held now or pressed since the last reading.
            NaN in the gripper: the person has not said since taking over, so it stays as it was last chosen.
        held: As ``action``, of the keys held now alone.
        presses: How often each direction was pressed since the start, x+ x- y+ y- z+ z-, uint64 of shape (6,).
            With ``held`` it is all a slower reader needs, see ``TapReader``.
        speed: Magnitude of a key's motion, in (0, 1].
        intervening: The person drives.
        events: Events since the last reading, oldest first.
        armed: Keys count. False while another window has the focus or the arming key has not been pressed.
        lost: The device is gone; the arm must hold. ``action`` is then zero.
        reason: Why the device is lost, or why keys do not count, in words.
    """

    action: np.ndarray = field(default_factory=unmoved)
    held: np.ndarray = field(default_factory=unmoved)
    presses: np.ndarray = field(default_factory=lambda: np.zeros(6, np.uint64))
    speed: float = 1.0
    intervening: bool = False
    events: tuple[Event, ...] = ()
    armed: bool = False
    lost: bool = False
    reason: str = ""


class TapReader:
    """Adds presses that began and ended between two polls of a slower process: none is lost, none counted twice."""

    def __init__(self) -> None:
        self._seen: np.ndarray | None = None

    def action(self, held: np.ndarray, presses: np.ndarray, speed: float) -> np.ndarray:
        """The action of this poll, float32 of shape (4,): ``held``, and each direction pressed since the last poll."""
        seen = presses if self._seen is None else self._seen
        self._seen = presses.copy()
        return with_taps(held, presses > seen, speed)


def with_taps(held: np.ndarray, pressed: np.ndarray, speed: float) -> np.ndarray:
    """``held`` with ``pressed`` directions, bool of shape (6,), on the axes where nothing is held."""
    action = held.copy()
    taps = speed * (pressed[0::2].astype(np.float32) - pressed[1::2].astype(np.float32))
    action[:3] = np.where(held[:3] == 0, taps, held[:3])
    return action
