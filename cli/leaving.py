"""Ctrl-C and SIGTERM while nothing can be lost: the process ends at once.

A KeyboardInterrupt does not always get through: raised while a library is being imported it may be swallowed there, or
become another error. So it is raised only where programs that were started have to be stopped, and a verb that has
something to save takes the signals over when it has.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from cli.errors import INTERRUPTED, speaks

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = "tandem: stopped by Ctrl-C\n"


def leave_on_signals(said: str = STOPPED) -> None:
    """From now on SIGINT and SIGTERM end the process with exit code 130, with ``said`` on stderr.

    Once its work is done and the interpreter goes, which no handler outlives, they do nothing: it has its exit code.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(Exception):  # of a stream that was being written to, or is closed
            sys.stdout.flush()
        with contextlib.suppress(OSError):
            os.write(2, said.encode() if speaks() else b"")
        os._exit(INTERRUPTED)

    for number in SIGNALS:
        signal.signal(number, leave)
    atexit.register(_ignore_signals)


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt meanwhile. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
