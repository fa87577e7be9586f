"""The imports of the programs of learner and actor, each as a whole, against those of LeRobot's own, alternated.

    python benchmarks/imports.py [--rounds 5]

Processes that only import all that the programs do from their command to their first step. Of ours: the command line,
the program, and what it imports later, which `tandem demo` needs with its defaults; an actor is two processes, one
after the other, and the second has torch and MuJoCo. `lerobot.rl.actor` and `lerobot.rl.learner` import command line,
policy and algorithm by themselves, but no simulator, as none is among LeRobot's dependencies. Processor time, files in
the page cache. Prints one JSON object a row.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from rows import row

COMMAND, ROOT = "python benchmarks/imports.py", Path(__file__).resolve().parents[1]
UNIT = "s of a processor"
CONTROL = (
    "import actor.control_main, actor.policy_pilot, policies.gaussian, envs.so101_sim\n"
    "import envs.mujoco_gl; envs.mujoco_gl.load_mujoco()"
)
PROGRAMS = {
    "learner": (
        (
            "import cli.main, cli.composition, cli.learner, learner.main, learner.algorithms.sac\n"
            "import envs.so101_interface, policies.encoders, learner.algorithms.compiled",
        ),
        ("import lerobot.rl.learner",),
    ),
    "actor": (
        ("import cli.main, cli.composition, cli.actor, actor.main", CONTROL),
        ("import lerobot.rl.actor",),
    ),
}
NOTES = {
    "learner": "ours with its command line",
    "actor": "ours with its command line, torch in its second process, and MuJoCo; LeRobot's without a simulator",
}


def imports_s(processes: tuple[str, ...]) -> float:
    """Processor time of processes that run so much and end [s]."""
    before = os.times()
    for code in processes:
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    for program, (own, other) in PROGRAMS.items():
        times = [(imports_s(own), imports_s(other)) for _ in range(rounds + 1)][1:]
        mine, theirs = map(list, zip(*times, strict=True))
        found = row(f"imports of the {program}", UNIT, mine, theirs, command=COMMAND, note=NOTES[program])
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
