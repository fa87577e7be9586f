"""What Ctrl-C and SIGTERM do to a learner that has something to save."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learner.training import Trainer


class StopSignal:
    """What SIGINT and SIGTERM do once there is a trainer: stop it. Before, nothing is there that could be lost."""

    def __init__(self) -> None:
        self._trainer: Trainer | None = None
        self._before: dict[int, Any] = {}

    def stops(self, trainer: Trainer) -> None:
        """SIGINT and SIGTERM stop the trainer; a second one ends the process at once. Only in the main thread."""
        self._trainer = trainer
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}

    def close(self) -> None:
        """Signals do again what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: object) -> None:
        assert self._trainer is not None
        if self._trainer.stop:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._trainer.stop = True
