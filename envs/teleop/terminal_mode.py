"""The terminal without line editing and echo, restored however the process ends."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import termios
import threading
import tty
from types import FrameType
from typing import Any


class TerminalMode:
    """Keys arrive one by one and are not echoed; Ctrl-C and Ctrl-Z keep working.

    Restored by ``restore``, at exit, and on SIGTERM, SIGHUP and SIGQUIT where the program left those to their default.
    After Ctrl-Z and ``fg`` the mode is set again. After kill -9 nothing can be restored: type ``stty sane``.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[Any] | None = None
        self._handlers: dict[int, Any] = {}

    def enter(self) -> None:
        """Raises termios.error where ``fd`` is no terminal."""
        if self._before is not None:
            return
        self._before = termios.tcgetattr(self._fd)
        atexit.register(self.restore)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                if signal.getsignal(number) is signal.SIG_DFL:
                    self._handlers[number] = signal.signal(number, self._die)
            if signal.getsignal(signal.SIGCONT) is signal.SIG_DFL:
                self._handlers[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._again)
        tty.setcbreak(self._fd, termios.TCSANOW)

    def restore(self) -> None:
        """Safe to call twice. Keys typed and not read are dropped, so that they do not reach the shell."""
        if self._before is None:
            return
        before, self._before = self._before, None
        with contextlib.suppress(termios.error):
            termios.tcflush(self._fd, termios.TCIFLUSH)
            termios.tcsetattr(self._fd, termios.TCSANOW, before)
        atexit.unregister(self.restore)
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers.items():
                if signal.getsignal(number) in (self._die, self._again):
                    signal.signal(number, handler)
            self._handlers.clear()

    def _die(self, number: int, frame: FrameType | None) -> None:
        self.restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _again(self, number: int, frame: FrameType | None) -> None:
        if self._before is not None and in_foreground(self._fd):
            tty.setcbreak(self._fd, termios.TCSANOW)


def in_foreground(fd: int) -> bool:
    """Whether this process may read and set the terminal; in the background either would stop it."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False
