"""How far a recording is, and below it, in as many lines as it takes, what a person is asked and told."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text


class RecordingDisplay:
    """A context manager.

    Args:
        console: Where it is shown; lines printed there come above it.
        total: Successful episodes that are wanted.
        completed: Those there are.
    """

    def __init__(self, console: Console, total: int, completed: int) -> None:
        self._progress = Progress(TextColumn("recording"), BarColumn(), MofNCompleteColumn(), console=console)
        self._task = self._progress.add_task("", total=total, completed=completed)
        self._doing = Text()
        self._live = Live(Group(self._progress, self._doing), console=console)

    def __enter__(self) -> RecordingDisplay:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def complete(self, completed: int) -> None:
        self._progress.update(self._task, completed=completed)

    def say(self, *parts: str) -> None:
        """What goes on; empty parts are left out."""
        self._doing.plain = ", ".join(filter(None, parts))
