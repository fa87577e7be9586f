"""Ctrl-C and SIGTERM, remembered instead of raised, so that an episode ends where it stands."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

_Handler = Callable[[int, FrameType | None], object] | int | None


class StopSignal:
    """A context manager for the main thread; elsewhere it hears nothing. A second signal raises KeyboardInterrupt.

    Attributes:
        asked: Whether a signal came.
        code: Exit code of a process that was asked to stop.
    """

    code = 130

    def __init__(self) -> None:
        self.asked = False
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
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
