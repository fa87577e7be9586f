"""Progress of a training or an evaluation: one line that is written over on a terminal, a line every few seconds
elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from actor.episode import Episode

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


@contextlib.contextmanager
def show_episodes(episodes: int) -> Iterator[Callable[[Episode], None]]:
    """Yields what to tell each of so many ``episodes`` to."""
    done = successes = 0
    with show_steps() as say:

        def on_episode(episode: Episode) -> None:
            nonlocal done, successes
            done += 1
            successes += episode.outcome is not None and episode.outcome.name == "SUCCESS"
            say(f"{done} of {episodes}: {successes} succeeded")

        yield on_episode
