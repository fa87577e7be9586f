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
BY = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
SHOW_CURSOR = b"\x1b[?25h\n"


def leave_on_signals(said: str | None = None) -> None:
    """From now on SIGINT and SIGTERM end the process with exit code 130, with ``said`` on stderr, by default by what it
    was stopped.

    Once its work is done and the interpreter goes, which no handler outlives, they do nothing: it has its exit code.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(Exception):  # of a stream that was being written to, or is closed
            sys.stdout.flush()
        with contextlib.suppress(OSError):
            if os.isatty(1):
                os.write(1, SHOW_CURSOR)  # hidden while progress is shown
            text = f"tandem: stopped by {BY[signal.Signals(number)]}\n" if said is None else said
            os.write(2, text.encode() if speaks() else b"")
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
