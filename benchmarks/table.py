"""The benchmarks' table: rows measured anew in the place of the older ones, and the text of docs/benchmarks.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.origin import numbered

ROOT = Path(__file__).resolve().parents[1]

type Row = dict[str, Any]


def merged(old: list[Row], new: list[Row], said: str, files: list[str]) -> list[Row]:
    """``old`` with the rows that are measured again replaced, where they stood; the others stay as they were.

    Those are the rows of the same names, and all of the same commands unless the benchmark failed: then those that it
    did not come to stay, beside one that says so.

    Args:
        new: Of one benchmark.
        said: Its command.
        files: Of all benchmarks, in the order of the table; rows of other files are dropped.
    """
    names = {row["name"] for row in new}
    commands = set() if any(row.get("failed") for row in new) else {row["command"] for row in new}

    def again(row: Row) -> bool:
        failed = bool(row.get("failed")) and row["command"] == said
        return failed or row["name"] in names or row["command"] in commands

    old = [row for row in old if _file(row) in files]
    stays = [not again(row) for row in old]
    place = stays.index(False) if False in stays else len(old)
    after = [row for row, stay in zip(old[place:], stays[place:], strict=True) if stay]
    return sorted([*old[:place], *new, *after], key=lambda row: files.index(_file(row)))


def _file(row: Row) -> str:
    return row["command"].removeprefix("python ").partition(" ")[0]


def number(value: float | None) -> str:
    """Three significant digits, and whole numbers from 100 on; ``-`` for None."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if value else "0"


def markdown(rows: list[Row], files: list[str]) -> str:
    """The table, a part for each group; ``files`` are those of the benchmarks."""
    machines = numbered(rows)
    lines = [
        "# Benchmarks",
        "",
        *(f"{mark} On {where}.".strip() for where, mark in machines.items()),
        "Made by `make bench`; `python -m benchmarks --only FILE` measures the rows of one file again.",
        "",
        "Ours and the peer are medians of runs that alternate, with their ranges; the ratio says how many times better",
        "ours is, whichever way is better. The peer is LeRobot 0.6.1's own classes, or what the row says; where none",
        "does the same it is the mark itself. Figures of processor time depend little on what else runs; rates, delays",
        "and periods do: their marks are for an idle machine. Nothing here was measured on a CUDA device,",
        "`learner.compile` included. The last column says when, and on which commit (`-`: before it was kept).",
    ]
    lines += ["", table_of(rows)]
    if missing := [file for file in files if file not in map(_file, rows)]:
        lines += ["", f"Not measured: {', '.join(f'`python {file}`' for file in missing)}."]
    return "\n".join([*lines, ""])


def table_of(rows: list[Row]) -> str:
    """A part for each group."""
    machines = numbered(rows)
    parts: list[str] = []
    for group in dict.fromkeys(row["group"] for row in rows):
        parts += ["", f"## {group}", ""] if parts else [f"## {group}", ""]
        parts += ["| what | unit | better | ours | peer | ratio | mark | met | command | measured |"]
        parts += ["|---|---|---|---|---|---|---|---|---|---|"]
        parts += [_line(row, machines) for row in rows if row["group"] == group]
    return "\n".join(parts)


def _line(row: Row, machines: dict[str, str]) -> str:
    def spread(key: str, range_key: str) -> str:
        found = row.get(range_key)
        return number(row[key]) + (f" ({number(found[0])} to {number(found[1])})" if found else "")

    peer = spread("peer", "peer_range")
    if row.get("peer_is") and row["peer_is"] != "LeRobot 0.6.1":
        peer += f", {row['peer_is']}"
    met = {None: "-", True: "yes", False: "no"}[row["met"]]
    notes = "; ".join(filter(None, (row.get("note"), row.get("no_verdict"))))
    name = row["name"].replace("|", "/") + (f" ({notes})" if notes else "")
    ours, ratio = spread("ours", "range"), spread("ratio", "ratio_range")
    when = " ".join(filter(None, (row.get("date"), row.get("commit"), machines.get(row.get("machine", ""))))) or "-"
    cells = (name, row["unit"] or "-", row["better"], ours, peer, ratio, row["mark"] or "-", met)
    return f"| {' | '.join(cells)} | `{row['command']}` | {when} |"
