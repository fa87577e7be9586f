"""What Ctrl-C and SIGTERM do to a learner that has something to save."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

from transport.stop_wish import ACCIDENT_S, StopWish

if TYPE_CHECKING:
    from learner.training import Trainer

STOPPING = "stopping: writing the last checkpoint; Ctrl-C again gives that up"
GIVEN_UP = "gave up the last checkpoint: the run goes on from the one before it"
ENDED = "ended at once"
_INTERRUPTED = 130


class StopSignal:
    """What SIGINT and SIGTERM do once there is a trainer: stop it. Before, nothing is there that could be lost.

    Args:
        accident_s: As of StopWish.
    """

    def __init__(self, accident_s: float = ACCIDENT_S) -> None:
        self._trainer: Trainer | None = None
        self._before: dict[int, Any] = {}
        self._wish = StopWish(accident_s)

    def stops(self, trainer: Trainer) -> None:
        """SIGINT and SIGTERM stop the trainer; a second one that is no accident ends the process with exit code 130,
        and without the last checkpoint. Only in the main thread.
        """
        self._trainer = trainer
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}

    def close(self) -> None:
        """Signals do again what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: object) -> None:
        assert self._trainer is not None
        if self._wish.again():
            with contextlib.suppress(OSError):
                os.write(2, f"\n{GIVEN_UP if self._trainer.saves_last else ENDED}\n".encode())
            os._exit(_INTERRUPTED)
        self._trainer.stop = True
