"""Training a policy from pixels with the true reward, and with a success classifier as the only reward.

Both runs are `tandem demo` with the same seed and the same settings; the simulator's success is the referee of both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from episodes.log import read_log
from episodes.outcome import Purpose

MARK, IN_A_ROW = 0.9, 2
FEW = ("demonstrations=7",)
"""They leave something to learn: from twenty, cloning alone lifts the cube nearly always."""
SETTINGS = (
    "obs=pixels",
    *FEW,
    "film=false",
    "tracker=none",
    f"evaluation.success_mark={MARK}",
    "stop.cycle_ratio=10",
    "stop.intervention_rate=1",
    "stop.max_env_steps=5000",
    "stop.max_time_s=0",
)
"""Training ends with two evaluations in a row at the mark, as whoever gives the reward sees them."""
CLONED = ("learning=false", "operator=none", "stop.max_env_steps=200", "stop.when_autonomous=false")
"""The policy that both trainings begin with, which is never updated."""


def tandem(*arguments: str) -> None:
    """One command of ours, its output on ours. Raises CalledProcessError unless it ends with 0 or 3 (a cap)."""
    print(f"$ tandem {' '.join(arguments)}", flush=True)
    code = subprocess.run([sys.executable, "-P", "-m", "cli.main", *arguments]).returncode
    if code not in (0, 3):
        raise subprocess.CalledProcessError(code, arguments)


def trained(folder: Path, seed: int, *settings: str) -> dict[str, Any]:
    """What a training came to by the true referee; one that has ended before is not run again."""
    if not (folder / "summary.json").is_file():
        tandem("demo", *SETTINGS, f"seed={seed}", f"run={folder}", *settings)
    summary = json.loads((folder / "summary.json").read_text())
    evaluations = true_evaluations(folder)
    return {
        "success": summary["success_rate"],
        "successes": summary["successes"],
        "episodes": summary["episodes"],
        "env_steps": summary["env_steps"],
        "evaluations": evaluations,
        "steps_to_mark": steps_to_mark(evaluations),
    }


def true_evaluations(folder: Path) -> list[tuple[int, float]]:
    """Training steps so far and the true success rate of every whole evaluation in the log of a run."""
    purposes: dict[str, tuple[int, int]] = {}
    steps = 0
    began: dict[int, int] = {}
    succeeded: dict[str, bool] = {}
    rates: dict[int, list[bool]] = {}
    for _, entry in read_log(folder / "log"):
        record = entry.record
        kind = record.WhichOneof("body")
        if kind == "start":
            purposes[record.start.episode_id] = record.start.purpose, record.start.evaluation_id
            began.setdefault(record.start.evaluation_id, steps)
        elif kind == "step" and not record.step.interrupted:
            purpose, _ = purposes.get(record.step.episode_id, (0, 0))
            steps += purpose == Purpose.TRAINING
            true = any(r.source == "env" and r.value > 0.5 for r in record.step.rewards)
            succeeded[record.step.episode_id] = true or succeeded.get(record.step.episode_id, False)
        elif kind == "end":
            purpose, evaluation = purposes.get(record.end.episode_id, (0, 0))
            if purpose == Purpose.EVALUATION:
                rates.setdefault(evaluation, []).append(succeeded.get(record.end.episode_id, False))
    most = max(map(len, rates.values()), default=0)
    return [(began[number], sum(said) / most) for number, said in rates.items() if len(said) == most]


def scores(folder: Path, allow: Callable[[Sequence[bytes]], bool]) -> Iterator[tuple[float, bool]]:
    """The classifier's score of every step in the log of a run, and what ``allow`` says of the observation after it."""
    for _, entry in read_log(folder / "log"):
        step = entry.record.step
        for reward in step.rewards:
            if reward.source.startswith("score:"):
                yield reward.value, allow(step.observation)


def steps_to_mark(evaluations: list[tuple[int, float]]) -> int | None:
    """Training steps until two evaluations in a row reach the mark; None where they never do."""
    for before, now in pairwise(evaluations):
        if before[1] >= MARK and now[1] >= MARK:
            return now[0]
    return None
