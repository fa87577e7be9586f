"""The rows of docs/results.json: which are current, which a new one replaces, and what another such file has besides.

A row names the settings it ran with by a hash, under which the file has them once. It is current where its group would
run with the same now; one that is not stays in the file, marked as outdated, and is in no table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cells import GROUPS, Cell, cells, decides, resolved

UPDATES_ONLY = ("algorithm.utd_ratio",)  # of no effect where nothing is updated (learning=false)

type Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    """The rows of a results.json, each with its settings; of an earlier version's too, which has them by group."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return []
    if "settings" not in found:
        raise ValueError(f"{path} does not say with which settings its rows ran")
    return [
        {"group": row["group"], "settings": {}}
        | row
        | {"settings": found["settings"][row.get("settings", row["group"])]}
        for row in found["runs"]
    ]


def as_text(rows: Sequence[Row], **more: Any) -> str:
    """A results.json of ``rows`` and ``more``, with a line for every run and for every distinct settings."""
    made = {_hash(row["settings"]): row["settings"] for row in rows}
    runs = [row | {"settings": _hash(row["settings"])} for row in rows]
    text = json.dumps(more | {"settings": {}, "runs": []}, indent=1)
    for empty, lines in (
        ('"settings": {}', [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in made.items()]),
        ('"runs": []', [json.dumps(row) for row in runs]),
    ):
        text = text.replace(empty, f"{empty[:-1]}\n  {',\n  '.join(lines)}\n {empty[-1]}" if lines else empty)
    return text + "\n"


def _hash(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The keys by which runs with these settings are not to be pooled; one that only either has is none of them."""
    idle = () if one.get("learning", True) or other.get("learning", True) else UPDATES_ONLY
    return [key for key in one if key in other and one[key] != other[key] and decides(key) and key not in idle]


def cell_of(row: Row) -> Cell:
    return Cell(row["group"], row["seed"])


def is_current(row: Row) -> bool:
    return cell_of(row) in cells() and not differing(row["settings"], resolved(row["group"]))


def current(rows: Sequence[Row]) -> dict[Cell, Row]:
    """The rows for the tables, by cell: of several that are current the last."""
    found = {cell_of(row): row for row in rows if is_current(row)}
    return {cell: found[cell] for cell in cells() if cell in found}


def merged(rows: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """``rows`` and ``new`` ones, which replace those of their cells that ran with the same settings."""
    rows = list(rows)
    for row in new:
        rows = [old for old in rows if not _stands_for(row, old)] + [row]
    place = {cell: i for i, cell in enumerate(cells())}
    return sorted(rows, key=lambda row: place.get(cell_of(row), len(place)))


def _stands_for(new: Row, old: Row) -> bool:
    same = cell_of(new) == cell_of(old) and not differing(new["settings"], old["settings"])
    return same and is_current(new) == is_current(old)


def marked(rows: Sequence[Row], there: dict[Cell, Row]) -> list[Row]:
    """``rows``, with a mark on those that are not ``there`` in the tables."""
    shown = [{key: value for key, value in row.items() if key != "outdated"} for row in rows]
    return [
        row if there.get(cell_of(row)) is old else row | {"outdated": True}
        for row, old in zip(shown, rows, strict=True)
    ]


def why_outdated(rows: Sequence[Row]) -> list[str]:
    """The groups and seeds of rows that are not current, and which settings were others then."""
    lines: dict[str, list[str]] = {}
    for row in rows:
        now = resolved(row["group"]) if row["group"] in GROUPS else {}
        then = row["settings"]
        changed = ", ".join(f"{key} {then[key]!r} then, {now[key]!r} now" for key in differing(then, now))
        otherwise = "a later run stands for it" if cell_of(row) in cells() else "no such run now"
        lines.setdefault(f"{row['group']} ({changed or otherwise})", []).append(str(row["seed"]))
    return [f"{said.replace(' (', f' seeds {", ".join(seeds)} (', 1)}" for said, seeds in lines.items()]


def taken(mine: Sequence[Row], theirs: Sequence[Row], age: Callable[[Row], Any]) -> tuple[list[Row], list[Row]]:
    """Those of ``theirs`` that ``mine`` lack, or have older ones of by ``age``; and other runs that are not newer."""
    known = {row["run_id"] for row in mine}
    others = [row for row in theirs if row["run_id"] not in known]
    newer = [row for row in others if all(age(old) < age(row) for old in mine if _stands_for(row, old))]
    return newer, [row for row in others if row not in newer]
