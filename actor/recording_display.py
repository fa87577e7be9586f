"""How far a recording is, and below it, in as many lines as it takes, what a person is asked and told.

Without a terminal, a line every few seconds.
"""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

_EVERY_S = 5.0


class RecordingDisplay:
    """A context manager.

    Args:
        console: Where it is shown; lines printed there come above it.
        total: Successful episodes that are wanted.
        completed: Those there are.
    """

    def __init__(self, console: Console, total: int, completed: int) -> None:
        self._console = console
        self._total, self._completed = total, completed
        self._progress = Progress(TextColumn("recording"), BarColumn(), MofNCompleteColumn(), console=console)
        self._task = self._progress.add_task("", total=total, completed=completed)
        self._doing = Text()
        self._live = Live(Group(self._progress, self._doing), console=console) if console.is_terminal else None
        self._said_s = time.monotonic()

    def __enter__(self) -> RecordingDisplay:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def complete(self, completed: int) -> None:
        self._completed = completed
        self._progress.update(self._task, completed=completed)

    def say(self, *parts: str) -> None:
        """What goes on; empty parts are left out."""
        self._doing.plain = doing = ", ".join(filter(None, parts))
        if self._live is None and time.monotonic() - self._said_s >= _EVERY_S:
            self._said_s = time.monotonic()
            self._console.print(f"recording: {self._completed} of {self._total}, {doing}", markup=False, soft_wrap=True)
