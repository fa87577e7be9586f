"""What Ctrl-C and SIGTERM do to a learner."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from learner.training import Trainer


class StopSignal:
    """What SIGINT and SIGTERM do: stop the trainer, or end the process where there is none yet."""

    def __init__(self) -> None:
        self._asked = False
        self._trainer: Trainer | None = None

    def stops(self, trainer: Trainer) -> None:
        self._trainer = trainer

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM stop the trainer; a second one ends the process at once. Only in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: object) -> None:
        if self._asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._asked = True
        if self._trainer is None:
            raise KeyboardInterrupt  # nothing is there that could be lost
        self._trainer.stop = True
