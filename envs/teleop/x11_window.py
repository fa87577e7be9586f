"""Whether an X11 window has the keyboard focus."""

from __future__ import annotations

import threading
from typing import Any


class X11Window:
    """One window, asked about over a connection of its own. May be asked from several threads."""

    def __init__(self, display: Any, window: Any) -> None:
        self._display, self._window = display, window
        self._lock = threading.Lock()

    @classmethod
    def find(cls, number: int) -> X11Window | None:
        """The window of a number, or None where there is no such window or no display."""
        from Xlib import display, error

        try:
            connection = display.Display()
        except (error.DisplayError, OSError):
            return None
        window = connection.create_resource_object("window", number)
        try:
            window.get_geometry()
        except error.XError:
            connection.close()
            return None
        return cls(connection, window)

    def has_focus(self) -> bool:
        """Whether the focus is in the window, in a part of it, or in the frame around it.

        Raises Xlib.error.ConnectionClosedError where the desktop is gone.
        """
        with self._lock:
            focus = self._display.get_input_focus().focus
            if isinstance(focus, int):
                return False
            own = getattr(self._window, "id", 0)
            return own in self._upward(focus) or focus.id in self._upward(self._window)

    def close(self) -> None:
        """Closes the connection; ``has_focus`` must not be asked afterwards."""
        with self._lock:
            self._display.close()

    def _upward(self, window: Any) -> list[int]:
        """The window and those around it, without the root."""
        from Xlib.error import XError

        numbers: list[int] = []
        while window:
            try:
                tree = window.query_tree()
            except XError:
                break
            if window.id == tree.root.id:
                break
            numbers.append(window.id)
            window = tree.parent
        return numbers
