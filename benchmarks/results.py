"""Trains the cells of docs/results.md, most important first.

    make results BUDGET_MIN=60

Each cell is one `tandem demo` in a folder of its own under runs/results/. A cell that has a summary.json is done and is
not run again, so the command can be stopped and repeated. The documents are written anew after every cell.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

from benchmarks.cells import GROUPS, ROOT, Cell, cells
from benchmarks.results_document import PICTURE, document, draw, pool
from benchmarks.reward_proof_document import section_of, with_section
from cli.children import Child, stop_all

STOPS_S = 10.0  # from Ctrl-C to the end of a cell that took too long
OVERRUN_S = 120.0  # by which the last cell may exceed the budget


def cell_limit_s(cell: Cell, left_s: float) -> float:
    """Time of a cell that starts with ``left_s`` of the budget left [s]."""
    return min(GROUPS[cell.group].limit_s, left_s + OVERRUN_S)


def run(cell: Cell, limit_s: float) -> str:
    """Runs one cell; '' or what went wrong. Whatever it started has ended when this returns."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    child = Child("demo", cell.arguments, cell.folder / "output.txt")
    try:
        code = child.wait(limit_s)
    finally:
        stop_all([child], grace_s=STOPS_S)
    if code is None:
        return f"not finished after {limit_s:.0f} s"
    return "" if cell.summary() else f"exit {code}, see {child.log}"


def machine() -> str:
    """What this runs on: processor, and the cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        models = []
    return (
        f"{cores} of {os.cpu_count()} CPU cores, {models[0] if models else platform.processor() or platform.machine()}"
    )


def write(out: Path) -> None:
    """docs/results.json, docs/results.md and its picture from every summary there is."""
    ran = [(cell, summary) for cell in cells() if (summary := cell.summary())]
    missing = [cell for cell in cells() if not cell.summary()]
    rows = [{"group": cell.group, **summary} for cell, summary in ran]
    pooled = pool(rows)
    found = {
        "machine": machine(),
        "pooled": pooled,
        "runs": rows,
        "not_run": [f"{cell.group} seed {cell.seed}" for cell in missing],
    }
    (out / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    path = out / "results.md"
    rewards = section_of(path.read_text()) if path.exists() else ""
    text = document(rows, pooled, missing, machine())
    path.write_text(with_section(text, rewards) if rewards else text)
    draw([cell for cell, _ in ran], out / PICTURE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget-min", type=float, default=60, help="start no cell after this many minutes")
    parser.add_argument("--only", default="", help="only cells whose name begins with this text")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.budget_min * 60
    for cell in cells():
        name = f"{cell.group} seed {cell.seed}"
        if cell.summary() or not name.startswith(arguments.only):
            continue
        if time.monotonic() > end:
            print(f"out of time before {name}")
            continue
        print(f"{name} ...", flush=True)
        trouble = run(cell, limit_s=cell_limit_s(cell, end - time.monotonic()))
        summary = cell.summary()
        print(f"{name}: {trouble or summary['verdict']}", flush=True)
        write(ROOT / "docs")
    write(ROOT / "docs")


if __name__ == "__main__":
    main()
