"""Trackers: where metrics go besides metrics.jsonl."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

TRACKERS = ("wandb", "trackio", "none")
PROJECT = "tandem"


class Tracker(Protocol):
    """Takes metrics as they come.

    Attributes:
        fault: Why it takes no more, which it has said once on stderr; empty while it does, and where it raises.
    """

    fault: str

    def log(self, metrics: Mapping[str, float], env_steps: int, updates: int) -> None:
        """Logs ``metrics`` (names of metrics/names.py) against both x axes."""

    def finish(self, timeout_s: float = 30.0) -> None:
        """Writes out what is left, waiting ``timeout_s`` at most. Harmless when called twice."""


class NoTracker:
    """Takes metrics and forgets them."""

    fault = ""

    def log(self, metrics: Mapping[str, float], env_steps: int, updates: int) -> None:
        pass

    def finish(self, timeout_s: float = 30.0) -> None:
        pass


def make_tracker(
    kind: str, run_folder: Path, *, run_id: str, name: str, config: Mapping[str, Any], project: str = PROJECT
) -> Tracker:
    """The tracker ``kind``: ``wandb``, ``trackio`` or ``none``.

    Returns at once: the tracker opens in a process of its own. What it opened is in RUN_FOLDER/tracker.json (see
    ``describe_tracker``). A run of the same ``run_id`` is continued. Raises ValueError for an unknown kind.
    """
    if kind == "none":
        return NoTracker()
    if kind not in TRACKERS:
        raise ValueError(f"tracker must be one of {TRACKERS}. Got: {kind!r}")
    from metrics.tracker_process import ProcessTracker

    return ProcessTracker(kind, run_folder, run_id=run_id, name=name, config=config, project=project)


def write_description(run_folder: Path, description: Mapping[str, str]) -> None:
    (run_folder / "tracker.json").write_text(json.dumps(dict(description), indent=2) + "\n")


def describe_tracker(run_folder: Path) -> str:
    """Where this run can be watched, in one line; empty when no tracker opened."""
    try:
        description = json.loads((run_folder / "tracker.json").read_text())
    except (OSError, ValueError):
        return ""
    return str(description.get("text", ""))
