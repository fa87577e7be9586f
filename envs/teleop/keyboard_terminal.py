"""Keys typed into this terminal: works over SSH, on Wayland and without a desktop, but knows no key releases."""

from __future__ import annotations

import os
import re
import select
import sys
import threading
import time

from envs.teleop.device_state import DeviceState
from envs.teleop.key_latch import KeyLatch
from envs.teleop.keyboard import KeyboardError
from envs.teleop.keys import HELP, MOTION
from envs.teleop.terminal_mode import TerminalMode, in_foreground

HOLD_S = 0.2
"""A motion key counts this long after each byte; a held key's repeats prolong it."""
REPEAT_S = 0.7
"""Any other key pressed again within this time of its last byte is taken for the repeat of a held key."""
POLL_S = 0.05

SEQUENCE = re.compile(rb"\x1b(?:\[[0-9;?]*[A-Za-z~]|O[A-Za-z])")
NAMES = {
    **{
        b"\x1b%c%c" % (kind, letter): name
        for kind in b"[O"
        for letter, name in zip(b"ABCD", ("up", "down", "right", "left"), strict=True)
    },
    b"\x1b[5~": "page_up",
    b"\x1b[6~": "page_down",
    b"\r": "enter",
    b"\n": "enter",
    b"\x7f": "backspace",
    b"\x08": "backspace",
    b" ": "space",
}


def keys_of(data: bytes) -> tuple[list[str], bytes]:
    """The keys in the bytes of a terminal, and the start of an escape sequence whose end has not come."""
    keys: list[str] = []
    while data:
        sequence = SEQUENCE.match(data)
        if not sequence and data.startswith(b"\x1b") and re.fullmatch(rb"\x1b(\[[0-9;?]*|O)?", data):
            return keys, data
        token = sequence.group() if sequence else data[: 2 if data.startswith(b"\x1b") else 1]
        data = data[len(token) :]
        if token in NAMES:
            keys.append(NAMES[token])
        elif token.isalnum():
            keys.append(token.decode().lower())
    return keys, b""


class TerminalKeyboard:
    """Reads a terminal byte by byte in a thread of its own. Only keys typed into this terminal arrive at all."""

    def __init__(self, fd: int | None = None, reason: str = "") -> None:
        """``fd`` defaults to standard input. ``reason`` says why no better listener was taken."""
        self._fd = fd
        why = f" ({reason})" if reason else ""
        self.description = (
            f"keyboard: keys typed into this terminal{why}; one press moves for {HOLD_S:g} s, hold it to go on. {HELP}"
        )
        self._latch = KeyLatch()
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}
        self._lost = ""
        self._armed = True
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Raises KeyboardError where there is no terminal or it belongs to another program."""
        try:
            fd = sys.stdin.fileno() if self._fd is None else self._fd
        except (AttributeError, ValueError, OSError):
            fd = -1
        if fd < 0 or not os.isatty(fd):
            raise KeyboardError(
                "operator=keyboard needs a terminal or an X11 desktop, and standard input is not a terminal. "
                "Start it in a terminal of its own (over ssh: ssh -t)"
            )
        if not in_foreground(fd):
            raise KeyboardError("operator=keyboard needs the terminal's foreground. Start it without '&'")
        self._fd, self._mode = fd, TerminalMode(fd)
        self._mode.enter()
        self._thread = threading.Thread(target=self._listen, args=(fd,), name="keyboard", daemon=True)
        self._thread.start()

    def snapshot(self) -> DeviceState:
        with self._lock:
            now = time.monotonic()
            for key in [k for k, until in self._until.items() if until <= now]:
                self._let_go(key)
        lost = self._lost or ("" if self._thread and self._thread.is_alive() else "the keyboard's listener ended")
        armed = self._armed and not lost
        reason = lost or ("" if armed else "this program is in the background of its terminal")
        return self._latch.snapshot(armed=armed, lost=bool(lost), reason=reason)

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(1.0)
            self._mode.restore()

    def _listen(self, fd: int) -> None:
        rest = b""
        while not self._stop.is_set():
            try:
                ready = select.select([fd], [], [], POLL_S)[0]
                self._armed = in_foreground(fd)
                if not self._armed and not self._gone(fd):
                    self._stop.wait(POLL_S)
                    continue
                data = os.read(fd, 1024) if ready else None
            except (OSError, ValueError) as error:
                self._lost = f"the terminal is gone: {error}"
                return
            if data == b"":
                self._lost = "the terminal is gone: its input ended"
                return
            keys, rest = keys_of(rest + data) if data else ([], b"")
            for key in keys:
                self._type(key)

    def _gone(self, fd: int) -> bool:
        try:
            os.tcgetpgrp(fd)
        except OSError:
            return True
        return False

    def _type(self, key: str) -> None:
        with self._lock:
            now = time.monotonic()
            if self._until.get(key, now) < now:
                self._let_go(key)
            self._latch.press(key)
            self._until[key] = now + (HOLD_S if key in MOTION else REPEAT_S)

    def _let_go(self, key: str) -> None:
        self._latch.release(key)
        del self._until[key]
