"""Every benchmark, one after the other, into docs/benchmarks.json and docs/benchmarks.md.

    make bench

A row is a name, a unit, our figure, that of the peer and ours over the peer's (null where no peer is measured), and the
command that measures it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.results import machine

ROOT = Path(__file__).resolve().parents[1]
UPDATES = ("benchmarks/updates.py",)
WIRE = ("benchmarks/wire.py", "--seconds", "2")


def rows() -> list[dict]:
    """Measures. Raises CalledProcessError where a benchmark fails."""
    return [*measured(UPDATES), *(wire_row(found) for found in measured(WIRE))]


def measured(command: tuple[str, ...]) -> list[dict]:
    """The JSON objects that a benchmark prints, one a line."""
    said = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def wire_row(found: dict) -> dict:
    where = "on the disk" if found["sync"] == "commit" else "with the operating system"
    return {
        "name": f"{found['records']} steps over loopback gRPC to the acknowledgement, {found['records_a_batch']} a "
        f"batch, {found['bytes_a_record']:,} bytes each, acknowledged {where}",
        "unit": "steps/s",
        "ours": found["records_per_s"],
        "peer": None,
        "ratio": None,
        "command": " ".join(("python", *WIRE)),
    }


def markdown(found: list[dict]) -> str:
    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    lines = [
        "# Benchmarks",
        "",
        f"On {machine()}. Made by `make bench`. The peer of the updates is LeRobot 0.6.1's own SAC classes in the same",
        "process, alternated with ours, with the state encoder that they have and ours has not; a ratio above 1 means",
        "that ours is faster. The wire has no peer here, and its wall-clock rates fall where other programs run beside",
        "it.",
        "",
        "| what | unit | ours | peer | ratio | command |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {row['unit']} | {row['ours']:,.0f} | {number(row['peer'], ',.0f')} "
        f"| {number(row['ratio'], '.2f')} | `{row['command']}` |"
        for row in found
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    found = rows()
    docs = ROOT / "docs"
    (docs / "benchmarks.json").write_text(json.dumps(found, indent=1) + "\n")
    (docs / "benchmarks.md").write_text(markdown(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
