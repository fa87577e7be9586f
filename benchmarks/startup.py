"""From a command to the first gradient step, and the imports in it against LeRobot's own programs, alternated.

    python benchmarks/startup.py [--rounds 3]

First a whole `tandem demo` from pixels with its defaults: it records 20 demonstrations of the simulated arm, starts a
learner and an actor, and is stopped at its first gradient step. Then processes that only import what the programs of
learner and actor do, ours and `lerobot.rl`'s; LeRobot's then still compose a policy, wait for each other and for the
first steps, which takes an environment that is not among its dependencies. Wall-clock times, files in the page cache.
Prints one JSON object a row.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rows import row

from cli.children import Child, stop_all
from cli.training import FIRST_UPDATE

COMMAND = "python benchmarks/startup.py"
LIMIT_S, STOPS_S = 120.0, 10.0
PROGRAMS = {
    "learner": (("learner.main", "learner.algorithms.sac"), ("lerobot.rl.learner",)),
    "actor": (("actor.main", "actor.control_main", "envs.so101_sim"), ("lerobot.rl.actor",)),
}


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


def imports_s(modules: tuple[str, ...]) -> float:
    """Of a process that imports them and ends [s]."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {', '.join(modules)}"], check=True, capture_output=True)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    first_update_s()
    started = [first_update_s() for _ in range(rounds)]
    name = "from `tandem demo` to its first gradient step, 2 cameras, with 20 demonstrations recorded on the way"
    print(json.dumps(row(name, "s", started, command=COMMAND)), flush=True)
    for program, (own, other) in PROGRAMS.items():
        times = [(imports_s(own), imports_s(other)) for _ in range(rounds + 1)][1:]
        mine, theirs = zip(*times, strict=True)
        print(json.dumps(row(f"imports of the {program}", "s", list(mine), list(theirs), command=COMMAND)), flush=True)


if __name__ == "__main__":
    main()
