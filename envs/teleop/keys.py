"""Which key does what. Names are lower-case characters, or ``up``, ``space``, ``enter`` and so on."""

from __future__ import annotations

from envs.teleop.operator import Event

MOTION: dict[str, tuple[int, int]] = {
    "w": (0, +1),
    "up": (0, +1),
    "s": (0, -1),
    "down": (0, -1),
    "a": (1, +1),
    "left": (1, +1),
    "d": (1, -1),
    "right": (1, -1),
    "r": (2, +1),
    "page_up": (2, +1),
    "f": (2, -1),
    "page_down": (2, -1),
}
"""Axis (0 forward, 1 left, 2 up) and sign."""

GRIPPER: dict[str, int] = {"o": +1, "c": -1}
"""+1 open, -1 close; stays until the other one is pressed or the person hands back."""

TAKE_OVER = "space"
"""Takes over, or hands back. Any motion or gripper key takes over too; only this one hands back."""

EVENTS: dict[str, Event] = {
    "enter": Event.SUCCESS,
    "backspace": Event.FAILURE,
    "x": Event.DISCARD,
    "z": Event.RERECORD,
    "g": Event.READY,
    "p": Event.PAUSE,
    "q": Event.STOP,
    "m": Event.MARK,
}

SPEEDS: dict[str, float] = {"1": 0.25, "2": 0.5, "3": 1.0}
"""Magnitude of the motion while a key is held."""

ARM = "f8"
"""Turns the keyboard on and off where the focus of its own window cannot be told."""

HELP = (
    "W/S forward/back, A/D left/right (or arrows), R/F up/down (or PgUp/PgDn), O/C gripper, 1/2/3 speed, "
    "SPACE take over/hand back, ENTER success, BACKSPACE failure, X discard, Z re-record, G ready, P pause, Q stop, "
    "M looks like success/no longer"
)
