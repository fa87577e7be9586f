"""Trackers: where metrics go besides metrics.jsonl. None of them can stop or slow learning."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

TRACKERS = ("wandb", "trackio", "none")
PROJECT = "tandem"
QUEUE_LINES = 1000


class Tracker(Protocol):
    """Takes metrics as they come."""

    def log(self, metrics: Mapping[str, float], env_steps: int, updates: int) -> None:
        """Logs ``metrics`` (names of metrics/names.py) against both x axes."""

    def finish(self, timeout_s: float = 30.0) -> None:
        """Writes out what is left, waiting ``timeout_s`` at most. Harmless when called twice."""


class NoTracker:
    """Takes metrics and forgets them."""

    def log(self, metrics: Mapping[str, float], env_steps: int, updates: int) -> None:
        pass

    def finish(self, timeout_s: float = 30.0) -> None:
        pass


class BackgroundTracker:
    """Opens and feeds a tracker on a thread of its own, so that no network or disk reaches the update loop.

    The first failure is said once on stderr, and what follows is dropped: metrics.jsonl has it all.

    Args:
        open_tracker: Makes the tracker; called on the thread. Takes seconds where it imports wandb.
        name: For the warning.
    """

    def __init__(self, open_tracker: Callable[[], Tracker], name: str) -> None:
        self._open = open_tracker
        self._name = name
        self._lines: queue.Queue[tuple[dict[str, float], int, int] | None] = queue.Queue(QUEUE_LINES)
        self._failed = False
        self._thread = threading.Thread(target=self._work, name=f"tracker-{name}", daemon=True)
        self._thread.start()

    def log(self, metrics: Mapping[str, float], env_steps: int, updates: int) -> None:
        if self._failed:
            return
        try:
            self._lines.put_nowait((dict(metrics), env_steps, updates))
        except queue.Full:
            self._fail(f"it is {QUEUE_LINES} lines behind")

    def finish(self, timeout_s: float = 30.0) -> None:
        try:
            self._lines.put(None, timeout=min(timeout_s, 1.0))
        except queue.Full:
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._fail(f"it did not finish within {timeout_s:g} s")

    def _work(self) -> None:
        try:
            tracker = self._open()
            while (line := self._lines.get()) is not None:
                tracker.log(*line)
            tracker.finish()
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")

    def _fail(self, reason: str) -> None:
        if not self._failed:
            self._failed = True
            text = " ".join(str(reason).split())[:300]
            print(
                f"tracker={self._name} stopped: {text}. Learning goes on; all metrics are in metrics.jsonl.",
                file=sys.stderr,
                flush=True,
            )


def make_tracker(
    kind: str, run_folder: Path, *, run_id: str, name: str, config: Mapping[str, Any], project: str = PROJECT
) -> Tracker:
    """The tracker ``kind``: ``wandb``, ``trackio`` or ``none``.

    Returns at once: the tracker opens in the background. What it opened is in RUN_FOLDER/tracker.json (see
    ``describe_tracker``). A run of the same ``run_id`` is continued. Raises ValueError for an unknown kind.
    """
    if kind == "none":
        return NoTracker()
    if kind == "wandb":

        def open_tracker() -> Tracker:
            from metrics.wandb_tracker import WandbTracker

            return WandbTracker(run_folder, run_id=run_id, name=name, config=config, project=project)

    elif kind == "trackio":

        def open_tracker() -> Tracker:
            from metrics.trackio_tracker import TrackioTracker

            return TrackioTracker(run_folder, run_id=run_id, name=name, config=config, project=project)

    else:
        raise ValueError(f"tracker must be one of {TRACKERS}. Got: {kind!r}")
    return BackgroundTracker(open_tracker, kind)


def write_description(run_folder: Path, description: Mapping[str, str]) -> None:
    (run_folder / "tracker.json").write_text(json.dumps(dict(description), indent=2) + "\n")


def describe_tracker(run_folder: Path) -> str:
    """Where this run can be watched, in one line; empty when no tracker opened."""
    try:
        description = json.loads((run_folder / "tracker.json").read_text())
    except (OSError, ValueError):
        return ""
    return str(description.get("text", ""))
