"""From a command to the first gradient step, which is one of cloning.

    python benchmarks/startup.py [--rounds 3]

A whole `tandem demo` from pixels with its defaults: it records 20 demonstrations of the simulated arm, starts a learner
and an actor, and is stopped at its first gradient step. Wall-clock times, files in the page cache. Prints one JSON
object a row.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from rows import row

from cli.children import Child, stop_all
from cli.training import FIRST_UPDATE

COMMAND = "python benchmarks/startup.py"
LIMIT_S, STOPS_S = 120.0, 10.0


def first_update_s() -> float:
    """Of one demo [s]; raises RuntimeError where it does not come to a gradient step."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "run" / FIRST_UPDATE
        child = Child(
            "demo", ["demo", f"run={found.parent}", "tracker=none", "film=false"], Path(folder) / "output.txt"
        )
        try:
            deadline = time.monotonic() + LIMIT_S
            while not found.exists():
                if child.exit_code is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the demo came to no gradient step within {LIMIT_S:.0f} s:\n{child.tail()}")
                time.sleep(0.05)
            return float(json.loads(found.read_text())["first_update_s"])
        finally:
            stop_all([child], grace_s=STOPS_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    first_update_s()
    started = [first_update_s() for _ in range(rounds)]
    name = (
        "from `tandem demo` to its first gradient step (of cloning), 2 cameras, 20 demonstrations recorded on the way"
    )
    print(json.dumps(row(name, "s", started, command=COMMAND)), flush=True)


if __name__ == "__main__":
    main()
