"""Trains the cells of docs/results.md: seeds first, then ablations, most important first.

    make results BUDGET_MIN=60

Each cell is one `tandem demo` in a folder of its own under runs/results/. A cell that has a summary.json is done and is
not run again, so the command can be stopped and repeated. The two documents are written anew after every cell.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

from cli.children import Child, stop_all
from metrics.wilson import wilson_interval

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "results"
STEPS = 3000  # at most, of an ablation
LIMIT_S = 900.0  # of one cell
STOPS_S = 10.0  # from Ctrl-C to the end of a cell that took too long
FULL_SPEED_CYCLE_STEPS = 11.3  # ScriptedOperatorConfig(speed=1.0, demonstrate=True), 5 seeds of 50 unseen starts
OVERRUN_S = 120.0  # by which the last cell may exceed the budget


@dataclass(frozen=True)
class Cell:
    """One training run: the group it is pooled in, its seed, and the settings that differ from the demo's."""

    group: str
    seed: int
    settings: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return RUNS / f"{self.group}-seed{self.seed}"

    @property
    def arguments(self) -> list[str]:
        """Of `tandem`."""
        return [
            "demo",
            f"seed={self.seed}",
            "obs=state",
            f"run={self.folder}",
            "tracker=none",
            "film=false",
            *self.settings,
        ]

    def summary(self) -> dict | None:
        path = self.folder / "summary.json"
        return json.loads(path.read_text()) if path.exists() else None


GROUPS = {
    "lift-state": "state observations, 5 demonstrations, interventions",
    "no-interventions": "as above without a person in the loop",
    "no-demonstrations": "as above with a person, without demonstrations and cloning",
    "cloning-alone": "the cloned policy, never updated",
    "learning-off": f"the cloned policy with the person helping, never updated, {STEPS} steps",
}


def cells() -> list[Cell]:
    cap = f"stop.max_env_steps={STEPS}"
    ablations = {
        "no-interventions": ("operator=none", cap),
        "no-demonstrations": ("demonstrations=0", cap),
        "learning-off": ("learning=false", cap, "stop.when_autonomous=false"),
        "cloning-alone": ("learning=false", "operator=none", "stop.max_env_steps=200", "stop.when_autonomous=false"),
    }
    return [Cell("lift-state", seed) for seed in range(5)] + [
        Cell(group, seed, settings) for seed in range(3) for group, settings in ablations.items()
    ]


def cell_limit_s(left_s: float) -> float:
    """Time of a cell that starts with ``left_s`` of the budget left [s]."""
    return min(LIMIT_S, left_s + OVERRUN_S)


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
    """docs/results.json and docs/results.md from every summary there is."""
    rows = [{"group": c.group, **s} for c in cells() if (s := c.summary())]
    missing = [f"{c.group} seed {c.seed}" for c in cells() if not c.summary()]
    pooled = {}
    for group in GROUPS:
        members = [r for r in rows if r["group"] == group]
        if members:
            successes, episodes = sum(r["successes"] for r in members), sum(r["episodes"] for r in members)
            low, high = wilson_interval(successes, episodes)
            pooled[group] = {
                "seeds": len(members),
                "successes": successes,
                "episodes": episodes,
                "success_rate": successes / episodes,
                "ci_low": low,
                "ci_high": high,
                "reached": sum(r["reached"] for r in members),
                "worst_seed": min(r["success_rate"] for r in members),
                "longest_train_wall_s": max(
                    (r["train_wall_s"] for r in members if r["train_wall_s"] is not None), default=None
                ),
            }
    found = {"machine": machine(), "pooled": pooled, "runs": rows, "not_run": missing}
    (out / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "results.md").write_text(_markdown(rows, pooled, missing))


def _markdown(rows: list[dict], pooled: dict, missing: list[str]) -> str:
    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    lines = [
        "# Results",
        "",
        f"The simulated SO-101 lifts a cube, state observations, on {machine()}, with learner, actor and demo running.",
        "Success is that of the policy alone, deterministic, over 50 start states that no training and no selection of",
        "checkpoints used. Reached: training stopped by its own rule, not by a cap on steps or time, and success on",
        "these starts was at least 0.9. Made by `make results`; one run is `make demo SEED=s`.",
        "The settings were tuned on seeds 0 and 1. Two runs of one seed differ: steps and updates interleave as they",
        "come.",
        "",
        "| group | what | seeds | reached | success (95 % Wilson) | worst seed | longest training |",
        "|---|---|---|---|---|---|---|",
    ]
    for group, p in pooled.items():
        interval = f"{p['success_rate']:.3f} ({p['ci_low']:.3f}-{p['ci_high']:.3f})"
        lines.append(
            f"| {group} | {GROUPS[group]} | {p['seeds']} | {p['reached']} | {interval} of {p['episodes']} "
            f"| {p['worst_seed']:.2f} | {number(p['longest_train_wall_s'], '.0f')} s |"
        )
    lines += [
        "",
        "Every run. Interventions are shares of environment steps, over the first and the last 20 training episodes.",
        "The operator's cycle is that of the scripted person on the same starts: the scripted person drives at 60 % of",
        f"the arm's top speed, as people do; at full speed it needs {FULL_SPEED_CYCLE_STEPS} steps.",
        "",
        "| group | seed | reached | success | interventions first 20 | last 20 | cycle, steps | operator's | env steps "
        "| updates | training s | first update s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r['group']} | {r['seed']} | {'yes' if r['reached'] else 'no'} | {r['successes']}/{r['episodes']} "
            f"| {number(r.get('intervention_rate_first'), '.3f')} | {number(r['intervention_rate'], '.3f')} "
            f"| {number(r['cycle_steps'], '.1f')} | {number(r['operator_cycle_steps'], '.1f')} | {r['env_steps']} "
            f"| {r['updates']} | {number(r['train_wall_s'], '.0f')} | {number(r['first_update_s'], '.1f')} |"
        )
    lines += ["", f"Not run yet: {', '.join(missing)}." if missing else "Every cell has run.", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget-min", type=float, default=60, help="start no cell after this many minutes")
    parser.add_argument("--only", default="", help="only cells whose name holds this text")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.budget_min * 60
    for cell in cells():
        name = f"{cell.group} seed {cell.seed}"
        if cell.summary() or arguments.only not in name:
            continue
        if time.monotonic() > end:
            print(f"out of time before {name}")
            continue
        print(f"{name} ...", flush=True)
        trouble = run(cell, limit_s=cell_limit_s(end - time.monotonic()))
        summary = cell.summary()
        print(f"{name}: {trouble or summary['verdict']}", flush=True)
        write(ROOT / "docs")
    write(ROOT / "docs")


if __name__ == "__main__":
    main()
