"""The process of a tracker: reads what to open and then metrics from its standard input, one JSON object a line."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from metrics.tracker import Tracker
from metrics.tracker_process import SAID_WHY, say_stopped

NICE = 10
LAST_UPLOAD_S = 300.0


def main() -> int:
    """Exit code: 0 when everything was logged, SAID_WHY after one line on stderr."""
    os.nice(NICE)
    os.environ["WANDB_SILENT"] = "true"
    order = json.loads(sys.stdin.readline() or "null")
    if order is None:
        return 0
    try:
        tracker = open_tracker(order)
        for line in sys.stdin:
            tracker.log(**json.loads(line))
        threading.Thread(target=_end_anyway, args=(order["kind"],), daemon=True).start()
        tracker.finish()
    except Exception as error:
        say_stopped(order["kind"], f"{type(error).__name__}: {error}")
        return SAID_WHY
    return 0


def open_tracker(order: dict[str, Any]) -> Tracker:
    """The tracker that the first line asks for."""
    kind = order["kind"]
    arguments = {key: order[key] for key in ("run_id", "name", "config", "project")}
    if kind == "wandb":
        from metrics.wandb_tracker import WandbTracker

        return WandbTracker(Path(order["run_folder"]), **arguments)
    from metrics.trackio_tracker import TrackioTracker

    return TrackioTracker(Path(order["run_folder"]), **arguments)


def _end_anyway(kind: str) -> None:
    threading.Event().wait(LAST_UPLOAD_S)
    say_stopped(kind, f"it did not finish within {LAST_UPLOAD_S:g} s")
    os._exit(SAID_WHY)


if __name__ == "__main__":
    sys.exit(main())
