"""The input device of a person, listened to beside the channels and passed on to the control process."""

from __future__ import annotations

import threading
from collections.abc import Callable

from actor.device_operator import publish
from actor.operators import DEVICES
from actor.shared import Board
from envs.teleop.keyboard import Keyboard, KeyboardError, open_keyboard

_EVERY_S = 0.01


class ListenerError(RuntimeError):
    """No such device can be listened to here. The text says why and what to do."""


class DeviceListener:
    """Listens from a thread of its own; does nothing for an operator that needs no device.

    Args:
        operator: Name of the operator.
        keyboard: Which listener: ``auto``, ``pynput`` or ``terminal``.
        board: Shared with the control process.
        say: Told, in one line, which device was taken and when it is lost.
    """

    def __init__(self, operator: str, keyboard: str, board: Board, say: Callable[[str], None]) -> None:
        self._operator = operator
        self._keyboard = keyboard
        self._board = board
        self._say = say
        self._device: Keyboard | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Raises ListenerError where the device cannot be opened."""
        if self._operator not in DEVICES:
            return
        try:
            self._device = open_keyboard(self._keyboard, announce=self._say)
        except KeyboardError as error:
            raise ListenerError(str(error)) from None
        threading.Thread(target=self._listen, args=(self._device,), name="device", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        if self._device is not None:
            self._device.stop()

    def _listen(self, device: Keyboard) -> None:
        lost = False
        while not self._stopped.wait(_EVERY_S):
            state = device.snapshot()
            if state.lost and not lost:
                self._say(f"the input device is lost ({state.reason}): the arm holds")
            lost = state.lost
            publish(self._board, state)
