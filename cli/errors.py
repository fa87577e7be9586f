"""What goes wrong at the command line: one clear message on stderr, an exit code, and never a bare traceback."""

from __future__ import annotations

import datetime
import difflib
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

from transport.plain_text import plain_text

OK = 0
ERROR = 1
USAGE = 2
CAP_REACHED = 3
INTERRUPTED = 130

ROOMS = frozenset({"transport", "episodes", "policies", "envs", "reward", "learner", "actor", "metrics", "cli"})


class UsageError(Exception):
    """Arguments that are no valid command; exit code 2."""


class CommandError(Exception):
    """A command that cannot go on, with what to do; exit code 1."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the known word that is nearest, whole or by its last part; empty if none is near."""
    choices = list(known)
    parent, _, last = word.rpartition(".")
    siblings = [choice for choice in choices if choice.rpartition(".")[0] == parent]
    inside = [choice for choice in siblings if last in choice.rpartition(".")[2].split("_")]
    by_last = {choice.rpartition(".")[2]: choice for choice in reversed(choices)}
    found = (
        inside
        or difflib.get_close_matches(word, choices, n=1, cutoff=0.8)
        or difflib.get_close_matches(word, siblings, n=1, cutoff=0.6)
        or [by_last[name] for name in difflib.get_close_matches(last, by_last, n=1, cutoff=0.6)]
        or difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    )
    return f" Did you mean {found[0]!r}?" if found else ""


def is_known(error: BaseException) -> bool:
    """Whether the error is of a class of ours: its text then names the key, the actual value and what to do."""
    return type(error).__module__.partition(".")[0] in ROOMS


def report(error: BaseException, log_folder: Path | None) -> int:
    """Says what happened on stderr and returns the exit code.

    A traceback of an unexpected error goes into ``log_folder`` (or the working directory), not on the screen.
    """
    if isinstance(error, KeyboardInterrupt):
        _say("stopped by Ctrl-C")
        return INTERRUPTED
    if isinstance(error, UsageError):
        _say(str(error))
        return USAGE
    if is_known(error):
        _say(str(error))
        return ERROR
    where = _keep_traceback(error, log_folder)
    kept = f" The traceback is in {where}." if where else ""
    _say(f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}.{kept}")
    return ERROR


def speaks() -> bool:
    """Whether this process is to say what happens: of the ranks of a learner that torchrun started, the first alone."""
    return os.environ.get("RANK", "0") == "0" or "WORLD_SIZE" not in os.environ


def _say(text: str) -> None:
    if speaks():
        lines = [plain_text(line, None) for line in text.split("\n")]
        print("tandem:", "\n".join(lines), file=sys.stderr, flush=True)


def _keep_traceback(error: BaseException, folder: Path | None) -> Path | None:
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    for place in (folder, Path.cwd()):
        if place is None or not place.is_dir():
            continue
        path = place / f"error-{stamp}.log"
        try:
            path.write_text("".join(traceback.format_exception(error)))
        except OSError:
            continue
        return path
    return None
