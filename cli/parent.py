"""A program that another started ends with it: the other holds a pipe, and a pipe closes however its holder dies."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

PARENT_PIPE = "TANDEM_PARENT_PIPE"
"""Set where stdin is such a pipe. Nothing is ever written to it."""

GRACE_S = 10.0


def end_with_parent() -> None:
    """Interrupts this process, as Ctrl-C does, when its parent is gone; after GRACE_S ends its process group.

    Does nothing where no parent asked for it, and in programs that this one starts.
    """
    if os.environ.pop(PARENT_PIPE, ""):
        threading.Thread(target=_watch, args=(sys.stdin.fileno(),), name="parent", daemon=True).start()


def _watch(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    time.sleep(GRACE_S)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
