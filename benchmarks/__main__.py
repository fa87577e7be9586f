"""Every benchmark, one after the other, into docs/benchmarks.json and docs/benchmarks.md.

    make bench
    python -m benchmarks [--only updates.py ...] [--into docs]

A row is a name, a unit, our figure, that of the peer and how many times better ours is (the mark is the peer where
nothing else does the same; null where there is neither), the command that measures it, and when and on what it did.
With --only the rows of other files stay as they were measured, judged by the marks as they are now; `--only` alone
measures nothing. A benchmark that fails is a row that says so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.origin import origin
from benchmarks.table import ROOT, Row, markdown, merged, number, table_of

LIMIT_S, SAY_EVERY_S, MARK_IS_PEER = 900.0, 15.0, "the mark"
BENCHMARKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Learner", ("benchmarks/updates.py",)),
    ("Learner", ("benchmarks/scaling.py",)),
    ("Replay", ("benchmarks/replay.py",)),
    ("Replay", ("benchmarks/replay.py", "--part", "growth", "--rounds", "3", "--times", "10")),
    ("Wire", ("benchmarks/wire.py", "--rounds", "2")),
    ("Wire", ("benchmarks/weights.py",)),
    ("Reliability", ("benchmarks/resume.py", "--rounds", "2")),
    ("Reliability", ("benchmarks/isolation.py",)),
    ("Reliability", ("benchmarks/hostile.py",)),
    ("Start", ("benchmarks/startup.py",)),
    ("Start", ("benchmarks/imports.py",)),
    ("Actor", ("benchmarks/period.py", "--rounds", "2")),
    ("Actor", ("benchmarks/inference.py",)),
)
TABLE, FILES = "benchmarks.json", list(dict.fromkeys(command[0] for _, command in BENCHMARKS))


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
    Mark(("updates/s", "4 simulated actors"), "ratio", True, 0.9),
    Mark(("random shift by up to",), "ours", False, 7),
    Mark(("replay: bytes a transition of episodes of",), "ours", False, 99_500),
    Mark(("replay: sample 256", "128x128x3"), "ours", False, 8, without="shifted"),
    Mark(("bytes on the wire for one image step",), "ours", False, 98_800),
    Mark(("serialise and deserialise one image step",), "ours", False, 0.15),
    Mark(("image steps/s", "log.sync=os"), "ours", True, 3_000),
    Mark(("image steps/s", "log.sync=commit"), "ours", True, 2_000),
    Mark(("state steps/s", "log.sync=os"), "ours", True, 20_000),
    Mark(("to its first gradient step",), "ours", False, 20),
    Mark(("control steps begun after a version was published", "p50"), "ours", False, 1),
    Mark(("drift of the control period",), "ours", False, 2),
    Mark(("control period", "p99"), "ours", False, 2, without="beyond undisturbed"),
    Mark(("two 128x128 cameras, encoder small", "p99"), "ours", False, 15),
    Mark(("two 128x128 cameras, encoder keypoints", "p99"), "ours", False, 15),
    Mark(("replay rebuilt from the log", "cameras"), "ours", True, 200),
    Mark(("update loop stands still for a checkpoint",), "ours", False, 50),
    Mark(("killed learner started again", "real time"), "ours", False, 10),
    Mark(("control period error beyond undisturbed",), "ours", False, 2),
    Mark(("updates/s under",), "ratio", True, 0.9),
)


def measured(group: str, command: tuple[str, ...], limit_s: float = LIMIT_S) -> Iterator[Row]:
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


@contextlib.contextmanager
def still_measuring(name: str, every_s: float = SAY_EVERY_S) -> Iterator[None]:
    """Says every some seconds that a benchmark, which prints at its end, is under way."""
    over, began = threading.Event(), time.monotonic()

    def say() -> None:
        while not over.wait(every_s):
            print(f"  {name}: measuring for {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    sayer = threading.Thread(target=say, daemon=True)
    sayer.start()
    try:
        yield
    finally:
        over.set()
        sayer.join()


def judged(row: Row) -> Row:
    """The row with which way is better, and its mark and whether it is met, where it has one; without a peer, the mark
    of its figure is the peer. No verdict where what was to be shown is less than what was there ``undisturbed``.
    """
    row = {key: value for key, value in row.items() if key != "no_verdict"}
    if row.get("peer_is") == MARK_IS_PEER:  # judged before
        row = {key: value for key, value in row.items() if key != "peer_is"} | {"peer": None, "ratio": None}
    row = row | {
        "better": row.get("better") or ("higher" if row["unit"].startswith(("updates", "steps/s")) else "lower")
    }
    mark = next((m for m in MARKS if m.of(row["name"]) and not row.get("failed")), None)
    if mark is None or row.get(mark.key) is None:
        return row | {"mark": None, "met": None}
    value = row[mark.key]
    if row.get("undisturbed", 0.0) > mark.bound:
        return row | {
            "mark": mark.text,
            "met": None,
            "no_verdict": "no verdict: undisturbed was beyond the mark itself",
        }
    if mark.key == "ours" and row["peer"] is None:
        ratio = (value / mark.bound if mark.least else mark.bound / value) if value > 0 else None
        row |= {"peer": mark.bound, "peer_is": MARK_IS_PEER, "ratio": ratio}
    return row | {"mark": mark.text, "met": value >= mark.bound if mark.least else value <= mark.bound}


def write(folder: Path, rows: list[Row]) -> None:
    (folder / TABLE).write_text(json.dumps(rows, indent=1) + "\n")
    (folder / "benchmarks.md").write_text(markdown(rows, FILES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [Path(file).name for file in FILES]
    parser.add_argument(
        "--only", nargs="*", default=names, metavar="FILE", choices=names, help=f"of {', '.join(names)}"
    )
    parser.add_argument("--into", type=Path, default=ROOT / "docs", help="folder of benchmarks.json and benchmarks.md")
    arguments = parser.parse_args()
    chosen = [(group, command) for group, command in BENCHMARKS if Path(command[0]).name in arguments.only]
    arguments.into.mkdir(parents=True, exist_ok=True)
    table = arguments.into / TABLE
    new: list[Row] = []
    rows: list[Row] = [judged(row) for row in json.loads(table.read_text())] if table.exists() else []
    began, made = time.monotonic(), origin()
    for index, (group, command) in enumerate(chosen):
        print(f"[{time.monotonic() - began:4.0f} s] {index + 1} of {len(chosen)}: {' '.join(command)}", file=sys.stderr)
        with still_measuring(Path(command[0]).name):
            found = [row | made for row in measured(group, command)]
        new += found
        rows = merged(rows, found, "python " + " ".join(command), FILES)
        write(arguments.into, rows)
    write(arguments.into, rows)
    print("\n\n".join(filter(None, (table_of(new), f"All rows: {arguments.into / 'benchmarks.md'}"))))


if __name__ == "__main__":
    main()
