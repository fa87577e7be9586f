"""The keyboard as an input device: which listener works here, and why."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Protocol

from envs.teleop.device_state import DeviceState

KINDS = ("auto", "pynput", "terminal")


class KeyboardError(RuntimeError):
    """No keyboard can be listened to here. The text says why and what to do."""


class Keyboard(Protocol):
    """A keyboard that is being listened to. It runs beside the channels, never in the control process."""

    description: str
    """One line: which listener, why, and how keys are kept from counting when typed elsewhere."""

    def start(self) -> None:
        """Raises KeyboardError."""

    def snapshot(self) -> DeviceState:
        """The state now; every event is handed out once. Never blocks, never raises: a lost keyboard says ``lost``."""

    def stop(self) -> None:
        """Restores the terminal. Safe to call twice."""


def open_keyboard(kind: str = "auto", announce: Callable[[str], None] = print) -> Keyboard:
    """A started keyboard. ``announce`` is told in one line which listener was taken and why.

    Args:
        kind: ``pynput`` (global listener, knows key releases), ``terminal`` (keys typed into this terminal) or
            ``auto``, which takes pynput on a local X11, macOS or Windows desktop and the terminal elsewhere.

    Raises KeyboardError for an unknown kind, or where the kind does not work here.
    """
    if kind not in KINDS:
        raise KeyboardError(f"keyboard must be one of {list(KINDS)}. Got: {kind!r}")
    why_terminal = terminal_reason(os.environ, sys.platform) if kind == "auto" else ""
    if kind == "pynput" or (kind == "auto" and not why_terminal):
        from envs.teleop.keyboard_pynput import PynputKeyboard

        listener: Keyboard = PynputKeyboard()
        try:
            listener.start()
        except KeyboardError as error:
            if kind == "pynput":
                raise
            why_terminal = str(error)
        else:
            announce(listener.description)
            return listener
    from envs.teleop.keyboard_terminal import TerminalKeyboard

    listener = TerminalKeyboard(reason=why_terminal)
    listener.start()
    announce(listener.description)
    return listener


def terminal_reason(environment: Mapping[str, str], platform: str) -> str:
    """Why a global listener cannot work here, or an empty text where it can."""
    if environment.get("SSH_CONNECTION") or environment.get("SSH_TTY"):
        return "over SSH the keyboard is on another machine"
    if not platform.startswith(("linux", "freebsd")):
        return ""
    if environment.get("WAYLAND_DISPLAY") or environment.get("XDG_SESSION_TYPE") == "wayland":
        return "Wayland shows no keys of other windows"
    if not environment.get("DISPLAY"):
        return "there is no DISPLAY"
    return ""
