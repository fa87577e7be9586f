"""Progress of a training: one line that is written over on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console

_EVERY_S = 5.0


@contextlib.contextmanager
def show_steps() -> Iterator[Callable[[str], None]]:
    """Yields what to tell each step to."""
    console = Console(highlight=False)
    began_s = said_s = time.monotonic()
    if console.is_terminal:
        with console.status("starting") as status:
            yield lambda text: status.update(f"{time.monotonic() - began_s:.0f} s, {text}")
        return

    def say(text: str) -> None:
        nonlocal said_s
        if time.monotonic() - said_s >= _EVERY_S:
            said_s = time.monotonic()
            print(f"  {said_s - began_s:.0f} s, {text}", flush=True)

    yield say
