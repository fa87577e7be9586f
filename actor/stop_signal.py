"""What tells an actor to stop, remembered instead of raised, so that an episode ends where it stands."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from transport.stop_wish import StopWish

_Handler = Callable[[int, FrameType | None], object] | int | None

INSIST_S = 2.0
"""A signal this long after the second ends the process at once [s]; one before is a key that was held."""
TAKE_OVER = signal.SIGUSR1
"""What an actor that takes over the name sends to the one that has it, on the same machine."""
_REPLACED, _STOPPED = 1, 130


class StopSignal:
    """Hears Ctrl-C, SIGTERM and TAKE_OVER. A context manager for the main thread; elsewhere it hears nothing.

    A second Ctrl-C that is no accident raises KeyboardInterrupt, once: what is still waited for is given up.

    Attributes:
        asked: Whether a signal came.
        hurried: Whether a second one did that was no accident.
        replaced: Whether it was another actor's, which takes over the name.
    """

    def __init__(self) -> None:
        self.asked = self.hurried = self.replaced = False
        self._wish = StopWish()
        self._second_s = 0.0
        self._before: dict[int, _Handler] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
            self._before[TAKE_OVER] = signal.signal(TAKE_OVER, self._replace)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.signal(TAKE_OVER, signal.SIG_IGN)  # too late: the name is free

    @property
    def code(self) -> int:
        """Exit code of a process that was asked to stop."""
        return _REPLACED if self.replaced else _STOPPED

    def _replace(self, number: int, frame: FrameType | None) -> None:
        self.asked = self.replaced = True

    def _ask(self, number: int, frame: FrameType | None) -> None:
        again = self._wish.again()
        if self.hurried:
            if time.monotonic() - self._second_s > INSIST_S:
                os._exit(self.code)
        elif again:
            self.hurried, self._second_s = True, time.monotonic()
            raise KeyboardInterrupt
        self.asked = True
