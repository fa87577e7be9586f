"""Whether a newly trained classifier takes the place of the one in its folder, on the same frames."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from episodes.durable import sync_folder
from reward.report import HTML_FILE, JSON_FILE
from reward.storage import FILE

CANDIDATE = "candidate"
"""Folder beside a classifier in which a new one lies until it has its report, and where it stays if it is refused."""
LOCK = "lock"
"""In it: one training at a time writes there."""


def confirms_nothing(report: dict[str, Any]) -> str:
    """What makes a classifier worthless, or an empty text: of the held-out successes it confirms none."""
    found = report["per_episode"]
    if found["success_confirmed"]:
        return ""
    wrong = found["success_confirmed_early"] + found["failure_confirmed"]
    less = f"no success, but {wrong} times what was none" if wrong else "nothing"
    recall = f"recall {_rate(found['recall'])}"
    if short := found["success_too_short"]:
        recall += f"; {short} successes have too few labelled frames in a row for confirm={report['confirm']}"
    return f"it confirms {less} ({recall})"


def objections(old: dict[str, Any] | None, new: dict[str, Any]) -> list[str]:
    """Why the new classifier should not take the old one's place: it confirms nothing, or its recall or precision lies
    below the 95 % interval of the old one's on the same frames (``measures.of_another``)."""
    if nothing := confirms_nothing(new):
        return [nothing]
    if old is None:
        return []
    return [
        f"its {name} of {_rate(after)} lies below the 95 % interval of the one there, {low:.1%} to {high:.1%}"
        for name in ("recall", "precision")
        for after, (low, high) in ((new["per_episode"][name], old["per_episode"][name]["interval"]),)
        if after["value"] is not None and after["value"] < low
    ]


def comparison(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Old against new in four lines."""
    figures = {name: [_rate(report["per_episode"][name]) for report in (old, new)] for name in ("recall", "precision")}
    figures["false positives an hour"] = [_hourly(report) for report in (old, new)]
    lines = [f"  {name} {before} -> {after}" for name, (before, after) in figures.items()]
    head = (
        "Old against new on these data; some the old one may have been trained on, the new one is on held-out episodes:"
    )
    return "\n".join([head, *lines])


def take_in(folder: Path) -> None:
    """Moves the candidate to ``folder``, the classifier last: who takes it can read what it is worth."""
    for name in (JSON_FILE, HTML_FILE, FILE):
        (folder / CANDIDATE / name).replace(folder / name)
    sync_folder(folder)
    leave(folder)


def leave(folder: Path) -> None:
    """Removes the candidate's folder where nothing but its lock is in it."""
    with contextlib.suppress(OSError):
        if {path.name for path in (folder / CANDIDATE).iterdir()} <= {LOCK}:
            (folder / CANDIDATE / LOCK).unlink(missing_ok=True)
            (folder / CANDIDATE).rmdir()


def _rate(rate: dict[str, Any]) -> str:
    if rate["value"] is None:
        return "unknown"
    low, high = rate["interval"]
    return f"{rate['value']:.1%} ({rate['count']} of {rate['of']}, 95 % interval {low:.1%} to {high:.1%})"


def _hourly(report: dict[str, Any]) -> str:
    hourly = report["false_positives_an_hour"]
    low, high = hourly["interval"]
    return f"{hourly['rate']:.1f} (95 % interval {low:.1f} to {high:.1f})"
