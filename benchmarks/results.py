"""Trains the cells of docs/results.md, most important first.

    make results BUDGET_MIN=60
    python -m benchmarks.results --take FILE      rows of another results.json that are missing here, or newer

Each cell is one `tandem demo` in a folder of its own under runs/results/. docs/results.json keeps what came of it, with
its settings, its curves, and when and on which commit it was made; the documents are written anew after every cell. A
cell whose row has the settings of its group, presets included, is not run again, here or on another machine, but with
--again; one that was stopped goes on. Rows of other settings stay in docs/results.json, and are in no table.
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
from benchmarks.origin import committed, machine, origin
from benchmarks.results_document import CURVES, PICTURE, document, draw, pool
from benchmarks.results_readme import with_tables
from benchmarks.results_rows import as_text, cell_of, current, differing, marked, merged, read, taken, why_outdated
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
    settings, began = resolved(cell.group), _in_folder(cell, SETTINGS)
    if cell.summary() or began is None or any(began.get(key, ...) != value for key, value in settings.items()):
        shutil.rmtree(cell.folder, ignore_errors=True)
    cell.folder.mkdir(parents=True, exist_ok=True)
    made = origin()
    first = (_in_folder(cell, ORIGIN) or made)["commit"].partition(" to ")[0]
    made |= {"commit": made["commit"] if first == made["commit"] else f"{first} to {made['commit']}"}
    (cell.folder / SETTINGS).write_text(json.dumps(settings))
    (cell.folder / ORIGIN).write_text(json.dumps({**made, "load": None}))
    child = Child("demo", cell.arguments, cell.folder / "output.txt")
    try:
        code = child.wait(limit_s)
    finally:
        stop_all([child], grace_s=STOPS_S)
    (cell.folder / ORIGIN).write_text(json.dumps({**made, "load": os.getloadavg()[1]}))
    if code is None:
        return f"not finished after {limit_s:.0f} s"
    return "" if cell.summary() else f"exit {code}, see {child.log}"


def _in_folder(cell: Cell, name: str) -> dict | None:
    place = cell.folder / name
    return json.loads(place.read_text()) if place.exists() else None


def kept(out: Path) -> dict[Cell, dict]:
    """The rows of docs/results.json that are current."""
    return current(read(out / "results.json"))


def row_of(cell: Cell) -> dict | None:
    """What a cell that has run on this machine puts into docs/results.json; None where it has not, or with other
    settings."""
    summary, settings = cell.summary(), _in_folder(cell, SETTINGS)
    if summary is None or settings is None or differing(settings, resolved(cell.group)):
        return None
    history = read_history(cell.folder / "metrics.jsonl")
    curves = {name: [[round(v, 4) for v in axis] for axis in history.series(name)] for name in CURVES}
    made = _in_folder(cell, ORIGIN) or _unknown(cell)
    return {"group": cell.group, "settings": settings, **made, **summary, "curves": curves}


def _unknown(cell: Cell) -> dict:
    """Of a run whose folder does not say where it comes from: all that is known is its day."""
    day = time.strftime("%Y-%m-%d", time.gmtime((cell.folder / "summary.json").stat().st_mtime))
    return {"date": day, "commit": "unknown", "machine": machine(), "load": None}


def write(out: Path, new: Sequence[dict] = ()) -> None:
    """docs/results.json, docs/results.md and its picture, and the tables of README.md beside docs/, from the rows there
    are and ``new`` ones. Says which rows have become outdated since they were written last."""
    all_rows = merged(read(out / "results.json"), new)
    there = current(all_rows)
    rows, missing = list(there.values()), [cell for cell in cells() if cell not in there]
    outdated = [row for row in all_rows if there.get(cell_of(row)) is not row]
    if became := why_outdated([row for row in outdated if not row.get("outdated")]):
        print(f"outdated, from now on in results.json alone: {'; '.join(became)}", flush=True)
    pooled = pool(rows)
    not_run = [f"{cell.group} seed {cell.seed}" for cell in missing]
    write_durably(out / "results.json", as_text(marked(all_rows, there), pooled=pooled, not_run=not_run).encode())
    path = out / "results.md"
    rewards = section_of(path.read_text()) if path.exists() else ""
    text = document(rows, pooled, missing, why_outdated(outdated))
    path.write_text(with_section(text, rewards) if rewards else text)
    draw(rows, out / PICTURE)
    readme = out.parent / "README.md"
    if readme.exists():
        readme.write_text(with_tables(readme.read_text(), rows, pooled))


def take(out: Path, other: Path) -> None:
    """Takes over the rows of another results.json that docs/results.json lacks or has older ones of; says which."""

    def age(row: dict) -> tuple[str, int]:
        return row["date"], committed(row["commit"], (ROOT, other.resolve().parent))

    new, left = taken(read(out / "results.json"), read(other), age)
    for what, rows in (("taken", new), ("left, as not known to be newer than the row here", left)):
        for row in rows:
            print(f"{what}: {row['group']} seed {row['seed']} ({row['date']} {row['commit']})")
    if new:
        write(out, new)
    else:
        print("nothing to take")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget-min", type=float, default=60, help="start no cell after this many minutes")
    parser.add_argument("--only", default="", help="only cells whose name begins with this text")
    parser.add_argument("--again", action="store_true", help="run cells again that have a row")
    parser.add_argument("--take", type=Path, metavar="FILE", help="run nothing; take over rows of another results.json")
    arguments = parser.parse_args()
    out = ROOT / "docs"
    if arguments.take:
        if not arguments.take.is_file():
            parser.error(f"there is no file {arguments.take}")
        take(out, arguments.take)
        return
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
