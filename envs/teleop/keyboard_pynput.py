"""Keys of the whole desktop through pynput: knows presses and releases, so keys typed elsewhere must be kept out."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import threading
from collections.abc import Mapping
from typing import Any

from envs.teleop.device_state import DeviceState
from envs.teleop.key_latch import KeyLatch
from envs.teleop.keyboard import KeyboardError
from envs.teleop.keys import ARM, HELP
from envs.teleop.terminal_mode import TerminalMode, in_foreground

START_S = 3.0
"""A listener not ready after this time is taken not to work here."""
POLL_S = 0.05
"""Period of looking whether the own window still has the focus."""
MODIFIERS = ("ctrl", "alt", "cmd")


class PynputKeyboard:
    """Listens to the desktop's keyboard.

    Keys count while the terminal that started this program has the focus, where X11 can tell (WINDOWID is set and no
    tmux or screen lies between); elsewhere, and always once it was pressed, F8 turns the keyboard on and off. Keys
    together with Ctrl, Alt or Cmd never count. Keys held when the keyboard stops counting are let go.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self.description = ""
        self._latch = KeyLatch()
        self._armed = False
        self._by_key = False
        self._lost = ""
        self._modifiers: set[str] = set()
        self._arm_down = False
        self._focus: Any = None
        self._mode: TerminalMode | None = None
        self._stop = threading.Event()
        self._listener: Any = None
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        """Raises KeyboardError where the desktop cannot be listened to."""
        try:
            from pynput import keyboard
        except Exception as error:
            reason = " ".join(str(error).split())
            raise KeyboardError(f"pynput cannot listen to a desktop here: {reason}") from error

        class Listener(keyboard.Listener):
            """Ends without a traceback when the desktop goes: ``snapshot`` says that it is lost."""

            def run(self) -> None:
                with contextlib.suppress(Exception):
                    super().run()

        listener = Listener(on_press=self._press, on_release=self._release)
        listener.daemon = True
        ready = threading.Event()
        threading.Thread(target=_start, args=(listener, ready), daemon=True).start()
        if not ready.wait(START_S) or not listener.is_alive():
            listener.stop()
            raise KeyboardError("pynput cannot listen to a desktop here: its listener did not start")
        if sys.platform == "darwin" and not getattr(listener, "IS_TRUSTED", True):
            listener.stop()
            raise KeyboardError("macOS lets this terminal see no keys: allow it under Privacy, Input Monitoring")
        self._listener = listener
        self._focus = _own_window(self._environment)
        self._armed = self._focus is not None and self._focus.has_focus()
        how = "keys count while this terminal has the focus" if self._focus else f"{ARM.upper()} turns it on and off"
        self.description = f"keyboard: pynput, {how}. {HELP}"
        self._watcher = threading.Thread(target=self._watch, name="keyboard focus", daemon=True)
        self._watcher.start()
        with contextlib.suppress(termios.error, AttributeError, ValueError, OSError):
            if in_foreground(sys.stdin.fileno()):
                self._mode = TerminalMode(sys.stdin.fileno())
                self._mode.enter()

    def snapshot(self) -> DeviceState:
        lost = self._lost
        if not lost and not (self._listener and self._listener.is_alive()):
            lost = "the keyboard's listener ended: the desktop is gone"
        armed = self._armed and not lost
        reason = lost or ("" if armed else self._why_not())
        return self._latch.snapshot(armed=armed, lost=bool(lost), reason=reason)

    def stop(self) -> None:
        self._stop.set()
        if self._listener is not None:
            with contextlib.suppress(Exception):
                self._listener.stop()
                self._listener.join(1.0)
        if self._watcher is not None:
            self._watcher.join(1.0)
        if self._focus is not None:
            with contextlib.suppress(Exception):
                self._focus.close()
            self._focus = None
        if self._mode is not None:
            self._mode.restore()

    def _why_not(self) -> str:
        if self._focus is not None and not self._by_key:
            return f"another window has the focus; {ARM.upper()} turns the keyboard on regardless"
        return f"press {ARM.upper()} to turn the keyboard on"

    def _press(self, key: Any) -> None:
        name = _name(key)
        if name.startswith(MODIFIERS):
            self._modifiers.add(name)
        if self._modifiers:
            return
        if name == ARM:
            if not self._arm_down:
                self._arm_down = self._by_key = True
                self._set_armed(not self._armed)
            return
        self._look()
        if self._armed:
            self._latch.press(name)

    def _release(self, key: Any) -> None:
        name = _name(key)
        self._modifiers.discard(name)
        if name == ARM:
            self._arm_down = False
        self._latch.release(name)

    def _look(self) -> None:
        if self._focus is not None and not self._by_key:
            self._set_armed(self._focus.has_focus())

    def _set_armed(self, armed: bool) -> None:
        self._armed = armed
        if not armed:
            self._latch.release_all()

    def _watch(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                self._look()
            except Exception as error:
                self._lost = f"the desktop is gone: {type(error).__name__}"
                self._set_armed(False)
                return


def _start(listener: Any, ready: threading.Event) -> None:
    listener.start()
    listener.wait()
    ready.set()


def _name(key: Any) -> str:
    """``w`` for W of either case, ``up`` for an arrow."""
    if key is None:
        return ""
    return getattr(key, "name", None) or (getattr(key, "char", None) or "").lower()


def _own_window(environment: Mapping[str, str]) -> Any:
    """The terminal's own X11 window, or None where it cannot be told."""
    window = environment.get("WINDOWID", "")
    if not window.isdecimal() or environment.get("TMUX") or environment.get("STY"):
        return None
    if not sys.platform.startswith(("linux", "freebsd")):
        return None
    from envs.teleop.x11_window import X11Window

    return X11Window.find(int(window))
