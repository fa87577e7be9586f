"""Random faults in a run that goes on, and every executed step in the log once: `make faults TRIALS=n SEED=s`.

    PYTHONPATH=tests python -m faults.run [--trials 500] [--seed 0] [--trees 2] [--keep FOLDER]

A trial is one fault at a random moment. After each, what was executed, by the environment's own record, is compared
with the log, which may hold at most one interrupted step for each control process that was killed; at the end of a
process tree what waited in the spool is delivered and both must be the same. Every tenth trial is of a tree whose
learner updates a policy and whose actor acts by it. One line a trial goes to standard error, and one JSON object to
standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import grpc
from faults.faults import FAULTS
from faults.record import DifferenceError, recorded_steps
from faults.tree import Tree

LIGHT_TRIALS, FULL_TRIALS = 25, 10
DISK_MB = 96
AT_ONCE = 0.15


@dataclass
class Result:
    """Of the trials of one tree, or of all.

    Attributes:
        kills: Processes killed with SIGKILL, trees counted as many as they have.
        steps: That returned.
        interrupted: In flight when a process died.
    """

    trials: int = 0
    kills: int = 0
    steps: int = 0
    lost: int = 0
    duplicated: int = 0
    interrupted: int = 0
    failed: int = 0

    def __iadd__(self, other: Result) -> Result:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self


@dataclass(frozen=True)
class Job:
    """Trials of one tree."""

    number: int
    trials: int
    full: bool
    seed: int


def jobs(trials: int, seed: int) -> list[Job]:
    """Every tenth trial is a full one."""
    full, parts = trials // 10, []
    for count, most, is_full in ((trials - full, LIGHT_TRIALS, False), (full, FULL_TRIALS, True)):
        parts += [(min(most, count - first), is_full) for first in range(0, count, most)]
    return [Job(i, count, is_full, seed) for i, (count, is_full) in enumerate(parts)]


def run_job(job: Job, folder: Path) -> Result:
    """The trials of one tree. What goes wrong is in the result, and said."""
    random, result = Random(f"{job.seed}/{job.number}"), Result()
    disk_mb = DISK_MB if os.geteuid() == 0 and job.number % 2 == 0 else 0
    names = [name for name in FAULTS if disk_mb or name != "full disk"]
    sync, mutual = random.choice(("os", "commit")), random.random() < 0.5
    tree = Tree(folder, full=job.full, sync=sync, mutual=mutual, disk_mb=disk_mb)
    kind, wire = "full" if job.full else "light", "mutual TLS" if mutual else "plain text"
    what = f"tree {job.number} ({kind}, log.sync={sync}, {wire})"
    name = "before any fault"
    try:
        with tree:
            for _ in range(job.trials):
                (name,) = random.choices(names, [FAULTS[n][0] for n in names])
                result.trials += 1
                began = time.monotonic()
                time.sleep(random.uniform(0, 0.3))
                result.kills += _kills(name)
                FAULTS[name][1](tree, random)
                tree.restart_dead()
                if random.random() < AT_ONCE:  # the next fault then comes while this one is being mended
                    continue
                tree.await_steps(1)
                found = tree.difference()
                _say(f"{what}, trial {result.trials}: {name}; going on after {time.monotonic() - began:.1f} s")
                if found.duplicated or found.unordered:
                    raise DifferenceError(f"{name}: {found}")
                tree.check_interrupted()
            found = tree.finish()
            result.lost, result.duplicated = found.lost, found.duplicated
            tree.check_interrupted()
            result.failed = int(found.unordered or bool(found.lost or found.duplicated))
    except (AssertionError, OSError, grpc.RpcError, subprocess.SubprocessError) as error:
        result.failed = 1
        _say(f"{what}, trial {result.trials} ({name}): {type(error).__name__}: {error}; its folder is {folder}")
        found = tree.difference() if "arm" in tree.log.actors else None
        if found is not None:
            result.lost, result.duplicated = found.lost, found.duplicated
    result.steps = len(recorded_steps(tree.record))
    result.interrupted = len(tree.log.actors["arm"].interrupted) if "arm" in tree.log.actors else 0
    return result


def run_trials(trials: int, seed: int, trees: int, folder: Path) -> Result:
    """All of them, ``trees`` process trees at a time. Folders of trees without a failure are removed."""

    def one(job: Job) -> Result:
        place = folder / f"tree-{job.number}"
        result = run_job(job, place)
        if not result.failed:
            shutil.rmtree(place, ignore_errors=True)
        return result

    total = Result()
    with ThreadPoolExecutor(trees) as pool:
        results: Iterable[Result] = pool.map(one, jobs(trials, seed))
        for result in results:
            total += result
    return total


def _kills(name: str) -> int:
    if "kill -9" in name or name == "torn log tail":
        return 3 if name.endswith("all") else 1
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trees", type=int, default=2, help="process trees at a time")
    parser.add_argument("--keep", type=Path, default=None, help="folder for what failed; a temporary one by default")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="tandem-faults-"))
    began = time.monotonic()
    result = run_trials(arguments.trials, arguments.seed, arguments.trees, folder)
    shown = {key: value for key, value in vars(result).items() if key != "failed"}
    print(json.dumps({**shown, "seconds": round(time.monotonic() - began, 1)}))
    return int(bool(result.failed))


if __name__ == "__main__":
    sys.exit(main())
