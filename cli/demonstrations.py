"""The demonstrations of a demo: in RUN/demonstrations once all are there, in RUN/demonstrations.part before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from episodes.durable import write_durably

NOTE = "demonstrations.json"
"""With which settings they are recorded."""


def finished(run: Path) -> Path:
    return run / "demonstrations"


def unfinished(run: Path) -> Path:
    """Where they are until all are there; recording goes on in it after a stop."""
    return run / "demonstrations.part"


def set_others_aside(run: Path, settings: Sequence[str]) -> list[str]:
    """Renames what was recorded with other settings than these, and notes these; in words, what was renamed.

    Finished ones stay where a learner has begun with them, or nothing says how they were recorded. Raises OSError.
    """
    noted, others = _noted(run), []
    if noted != list(settings):
        others = [unfinished(run), *([finished(run)] if noted and not (run / "run.json").exists() else [])]
    moved = [place.rename(_free(place)) for place in others if place.exists()]
    if not finished(run).exists():
        write_durably(run / NOTE, (json.dumps(list(settings)) + "\n").encode())
    return [f"demonstrations recorded with other settings are now in {place}" for place in moved]


def _noted(run: Path) -> list[str] | None:
    try:
        return list(json.loads((run / NOTE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _free(place: Path) -> Path:
    return next(p for n in count(1) if not (p := place.with_name(f"{place.name}.old{n}")).exists())
