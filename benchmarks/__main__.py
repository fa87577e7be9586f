"""Every benchmark, one after the other, into docs/benchmarks.json and docs/benchmarks.md.

    make bench
    python -m benchmarks [--only updates.py ...] [--into docs]

A row is a name, a unit, our figure, that of the peer and how many times better ours is (null where no peer is
measured), and the command that measures it. A benchmark that fails is a row that says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.results import machine

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 400.0
BENCHMARKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Learner", ("benchmarks/updates.py",)),
    ("Learner", ("benchmarks/scaling.py",)),
    ("Replay", ("benchmarks/replay.py",)),
    ("Replay", ("benchmarks/replay.py", "--part", "growth", "--rounds", "3", "--times", "10")),
    ("Wire", ("benchmarks/wire.py", "--rounds", "2")),
    ("Wire", ("benchmarks/weights.py",)),
    ("Reliability", ("benchmarks/resume.py",)),
    ("Reliability", ("benchmarks/isolation.py",)),
    ("Reliability", ("benchmarks/hostile.py",)),
    ("Actor", ("benchmarks/period.py", "--rounds", "2")),
    ("Actor", ("benchmarks/inference.py",)),
)
PACKAGES = ("torch", "lerobot", "numpy", "grpcio")


@dataclass(frozen=True)
class Mark:
    """What a row must reach.

    Attributes:
        parts: Texts that are all in the row's name.
        key: Of the row: ``ours`` or ``ratio``.
        least: Whether the bound is the least or the greatest that passes.
        bound: In the row's unit, or times.
        without: Text that must not be in the name.
    """

    parts: tuple[str, ...]
    key: str
    least: bool
    bound: float
    without: str = "\n"

    def of(self, name: str) -> bool:
        return all(part in name for part in self.parts) and self.without not in name

    @property
    def text(self) -> str:
        return f"{'>=' if self.least else '<='} {number(self.bound)}{'x' if self.key == 'ratio' else ''}"


MARKS = (
    Mark(("updates/s, state,",), "ratio", True, 4),
    Mark(("updates/s, 2 cameras", "LeRobot's small CNN"), "ratio", True, 3),
    Mark(("updates/s", "4 simulated actors", "state"), "ratio", True, 0.9),
    Mark(("random shift by up to",), "ours", False, 7),
    Mark(("replay: bytes a transition",), "ours", False, 99_500),
    Mark(("replay: sample 256", "128x128x3"), "ours", False, 8, without="shifted"),
    Mark(("bytes on the wire for one image step",), "ours", False, 98_800),
    Mark(("serialise and deserialise one image step",), "ours", False, 0.15),
    Mark(("image steps/s", "log.sync=os"), "ours", True, 3_000),
    Mark(("image steps/s", "log.sync=commit"), "ours", True, 2_000),
    Mark(("state steps/s", "log.sync=os"), "ours", True, 20_000),
    Mark(("control period", "p99"), "ours", False, 2, without="beyond undisturbed"),
    Mark(("two 128x128 cameras, encoder small", "p99"), "ours", False, 15),
    Mark(("replay rebuilt from the log", "cameras"), "ours", True, 200),
    Mark(("update loop stands still for a checkpoint",), "ours", False, 50),
    Mark(("killed learner started again",), "ours", False, 10),
    Mark(("control period error beyond undisturbed",), "ours", False, 2),
    Mark(("updates/s under",), "ratio", True, 0.9),
)


def measured(group: str, command: tuple[str, ...], limit_s: float = LIMIT_S) -> Iterator[dict[str, Any]]:
    """The rows that a benchmark prints as JSON, one a line, and one more where it fails or runs past its limit."""
    said = "python " + " ".join(command)
    try:
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit_s
        )
        out, fault = done.stdout, ""
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            fault = f"failed with exit code {done.returncode}: {last}"
    except subprocess.TimeoutExpired as expired:
        out = expired.stdout.decode() if isinstance(expired.stdout, bytes) else expired.stdout or ""
        fault = f"stopped after {limit_s:.0f} s"
    for line in out.splitlines():
        if line.startswith("{"):
            yield judged({"group": group} | json.loads(line))
    if fault:
        failed = {"group": group, "name": f"{said} {fault}", "unit": "", "ours": None, "peer": None, "ratio": None}
        yield judged(failed | {"command": said, "failed": True})


def judged(row: dict[str, Any]) -> dict[str, Any]:
    """The row with which way is better, and its mark and whether it is met, where it has one."""
    row = row | {
        "better": row.get("better") or ("higher" if row["unit"].startswith(("updates", "steps/s")) else "lower")
    }
    mark = next((m for m in MARKS if m.of(row["name"]) and not row.get("failed")), None)
    if mark is None or row.get(mark.key) is None:
        return row | {"mark": None, "met": None}
    value = row[mark.key]
    return row | {"mark": mark.text, "met": value >= mark.bound if mark.least else value <= mark.bound}


def number(value: float | None) -> str:
    """Three significant digits, and whole numbers from 100 on; ``-`` for None."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if value else "0"


def versions() -> str:
    def one(name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return f"{name} not installed"

    return ", ".join([f"Python {sys.version.split()[0]}", *map(one, PACKAGES)])


def markdown(rows: list[dict[str, Any]], where: str) -> str:
    """The table, a part for each group."""
    lines = [
        "# Benchmarks",
        "",
        f"On {where}; {versions()}. Made by `make bench`.",
        "",
        "Ours and the peer are medians of runs that alternate, with their ranges; the ratio says how many times better",
        "ours is, whichever way is better. The peer is LeRobot 0.6.1's own classes, or what the row says. Figures of",
        "processor time depend little on what else runs; rates, delays and periods do: their marks are for an idle",
        "machine. Nothing here was measured on a CUDA device, `learner.compile` included.",
    ]
    for group in dict.fromkeys(row["group"] for row in rows):
        lines += ["", f"## {group}", ""]
        lines += ["| what | unit | better | ours | peer | ratio | mark | met | command |"]
        lines += ["|---|---|---|---|---|---|---|---|---|"]
        lines += [_line(row) for row in rows if row["group"] == group]
    commands = " ".join(row["command"] for row in rows)
    if missing := sorted({command[0] for _, command in BENCHMARKS if command[0] not in commands}):
        lines += ["", f"Not measured in this run: {', '.join(f'`python {file}`' for file in missing)}."]
    return "\n".join([*lines, ""])


def _line(row: dict[str, Any]) -> str:
    def spread(key: str, range_key: str) -> str:
        found = row.get(range_key)
        return number(row[key]) + (f" ({number(found[0])} to {number(found[1])})" if found else "")

    peer = spread("peer", "peer_range")
    if row.get("peer_is") and row["peer_is"] != "LeRobot 0.6.1":
        peer += f", {row['peer_is']}"
    met = {None: "-", True: "yes", False: "no"}[row["met"]]
    name = row["name"].replace("|", "/") + (f" ({row['note']})" if row.get("note") else "")
    ours, ratio = spread("ours", "range"), spread("ratio", "ratio_range")
    cells = (name, row["unit"] or "-", row["better"], ours, peer, ratio, row["mark"] or "-", met, f"`{row['command']}`")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    files = sorted({Path(command[0]).name for _, command in BENCHMARKS})
    parser.add_argument("--only", nargs="+", default=None, metavar="FILE", choices=files, help=f"of {', '.join(files)}")
    parser.add_argument("--into", type=Path, default=ROOT / "docs", help="folder of benchmarks.json and benchmarks.md")
    arguments = parser.parse_args()
    chosen = [(g, c) for g, c in BENCHMARKS if arguments.only is None or Path(c[0]).name in arguments.only]
    rows: list[dict[str, Any]] = []
    began = time.monotonic()
    for index, (group, command) in enumerate(chosen):
        print(f"[{time.monotonic() - began:4.0f} s] {index + 1} of {len(chosen)}: {' '.join(command)}", file=sys.stderr)
        rows += measured(group, command)
        arguments.into.mkdir(parents=True, exist_ok=True)
        (arguments.into / "benchmarks.json").write_text(json.dumps(rows, indent=1) + "\n")
        (arguments.into / "benchmarks.md").write_text(markdown(rows, machine()))
    print(markdown(rows, machine()))


if __name__ == "__main__":
    main()
