"""Trains the cells of docs/results.md, most important first.

    make results BUDGET_MIN=60

Each cell is one `tandem demo` in a folder of its own under runs/results/. docs/results.json keeps what came of it, with
its settings, its curves, and when and on which commit it was made; the documents are written anew after every cell. A
cell whose row has the settings of its group, presets included, is not run again, here or on another machine, but with
--again; one that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cells import GROUPS, ROOT, Cell, cells, resolved
from benchmarks.origin import machine, origin
from benchmarks.results_document import CURVES, PICTURE, document, draw, pool
from benchmarks.results_readme import with_tables
from benchmarks.reward_proof_document import section_of, with_section
from cli.children import Child, stop_all
from episodes.durable import write_durably
from metrics.history import read_history

STOPS_S = 10.0  # from Ctrl-C to the end of a cell that took too long
SETTINGS, ORIGIN = "settings.json", "origin.json"  # of a cell, in its folder: what it runs with, and where it ran
OVERRUN_S = 120.0  # by which the last cell may exceed the budget


def cell_limit_s(cell: Cell, left_s: float) -> float:
    """Time of a cell that starts with ``left_s`` of the budget left [s]."""
    return min(GROUPS[cell.group].limit_s, left_s + OVERRUN_S)


def run(cell: Cell, limit_s: float) -> str:
    """Runs one cell, or goes on with one that was stopped; '' or what went wrong. Whatever it started has ended when
    this returns."""
    if cell.summary() or _began_with(cell) != resolved(cell.group):
        shutil.rmtree(cell.folder, ignore_errors=True)
    cell.folder.mkdir(parents=True, exist_ok=True)
    (cell.folder / SETTINGS).write_text(json.dumps(resolved(cell.group)))
    child = Child("demo", cell.arguments, cell.folder / "output.txt")
    try:
        code = child.wait(limit_s)
    finally:
        stop_all([child], grace_s=STOPS_S)
    (cell.folder / ORIGIN).write_text(json.dumps({**origin(), "load": os.getloadavg()[1]}))
    if code is None:
        return f"not finished after {limit_s:.0f} s"
    return "" if cell.summary() else f"exit {code}, see {child.log}"


def _began_with(cell: Cell) -> dict | None:
    """The settings of the run in a cell's folder; None where there is none, or one of an earlier version."""
    place = cell.folder / SETTINGS
    return json.loads(place.read_text()) if place.exists() else None


def kept(out: Path) -> dict[Cell, dict]:
    """The rows of docs/results.json that were made with the settings that their groups have now, presets included; a
    setting that has come since then does not count."""
    try:
        found = json.loads((out / "results.json").read_text())
    except FileNotFoundError:
        return {}
    same = {
        group: all(resolved(group).get(key) == value for key, value in made.items())
        for group, made in found["settings"].items()
        if group in GROUPS
    }
    return {Cell(row["group"], row["seed"]): row for row in found["runs"] if same.get(row["group"])}


def row_of(cell: Cell) -> dict | None:
    """What a cell that has run on this machine puts into docs/results.json; None where it has not, or with other
    settings."""
    summary = cell.summary()
    if summary is None or _began_with(cell) != resolved(cell.group):
        return None
    history = read_history(cell.folder / "metrics.jsonl")
    curves = {name: [[round(v, 4) for v in axis] for axis in history.series(name)] for name in CURVES}
    place = cell.folder / ORIGIN  # not there where this was killed before its demo ended
    made = json.loads(place.read_text()) if place.exists() else {**origin(), "load": None}
    return {"group": cell.group, **made, **summary, "curves": curves}


def write(out: Path, new: Sequence[dict] = ()) -> None:
    """docs/results.json, docs/results.md and its picture, and the tables of README.md beside docs/, from the rows there
    are and ``new`` ones."""
    there = kept(out) | {Cell(row["group"], row["seed"]): row for row in new}
    missing = [cell for cell in cells() if cell not in there]
    rows = [there[cell] for cell in cells() if cell in there]
    pooled = pool(rows)
    found = {
        "machine": machine(),
        "pooled": pooled,
        "settings": {group: resolved(group) for group in dict.fromkeys(row["group"] for row in rows)},
        "runs": rows,
        "not_run": [f"{cell.group} seed {cell.seed}" for cell in missing],
    }
    write_durably(out / "results.json", _a_line_each(found).encode())
    path = out / "results.md"
    rewards = section_of(path.read_text()) if path.exists() else ""
    text = document(rows, pooled, missing, machine())
    path.write_text(with_section(text, rewards) if rewards else text)
    draw(rows, out / PICTURE)
    readme = out.parent / "README.md"
    if readme.exists():
        readme.write_text(with_tables(readme.read_text(), rows, pooled))


def _a_line_each(found: dict) -> str:
    """JSON with a line for every run and for the settings of every group."""
    text = json.dumps(found | {"settings": {}, "runs": []}, indent=1)
    settings = ",\n  ".join(f"{json.dumps(group)}: {json.dumps(made)}" for group, made in found["settings"].items())
    runs = ",\n  ".join(json.dumps(row) for row in found["runs"])
    for empty, lines in (('"settings": {}', settings), ('"runs": []', runs)):
        text = text.replace(empty, f"{empty[:-1]}\n  {lines}\n {empty[-1]}" if lines else empty)
    return text + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget-min", type=float, default=60, help="start no cell after this many minutes")
    parser.add_argument("--only", default="", help="only cells whose name begins with this text")
    parser.add_argument("--again", action="store_true", help="run cells again that have a row")
    arguments = parser.parse_args()
    out = ROOT / "docs"
    end = time.monotonic() + arguments.budget_min * 60
    for cell in cells():
        name = f"{cell.group} seed {cell.seed}"
        if not name.startswith(arguments.only) or (cell in kept(out) and not arguments.again):
            continue
        if time.monotonic() > end:
            print(f"out of time before {name}")
            continue
        print(f"{name} ...", flush=True)
        row = None if arguments.again else row_of(cell)
        trouble = "" if row else run(cell, limit_s=cell_limit_s(cell, end - time.monotonic()))
        row = row or row_of(cell)
        print(f"{name}: {trouble or (row and row['verdict'])}", flush=True)
        write(out, [row] if row else [])
    write(out)


if __name__ == "__main__":
    main()
