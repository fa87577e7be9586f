"""Ctrl-C and SIGTERM, remembered instead of raised, so that an episode ends where it stands."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

_Handler = Callable[[int, FrameType | None], object] | int | None

INSIST_S = 2.0
"""A signal this long after the second ends the process at once [s]; one before is a key that was held."""
_STOPPED = 130


class StopSignal:
    """A context manager for the main thread; elsewhere it hears nothing.

    A second signal raises KeyboardInterrupt, once: what is still waited for is given up.

    Attributes:
        asked: Whether a signal came.
        hurried: Whether a second one did.
        code: Exit code of a process that was asked to stop.
    """

    code = _STOPPED

    def __init__(self) -> None:
        self.asked = self.hurried = False
        self._second_s = 0.0
        self._before: dict[int, _Handler] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.hurried:
            if time.monotonic() - self._second_s > INSIST_S:
                os._exit(self.code)
        elif self.asked:
            self.hurried, self._second_s = True, time.monotonic()
            raise KeyboardInterrupt
        self.asked = True
