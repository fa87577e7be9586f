"""The rule that fixes how narrow the slot of ``env.task=insert`` is, carried out before any reinforcement learning.

    python -m benchmarks.play                 from state
    python -m benchmarks.play --obs pixels

The play is the largest of 8, 6, 4, 3 and 2 mm at which cloning on 20 demonstrations succeeds in less than 60 % of
episodes while the scripted operator succeeds in 95 % or more, both pooled over three seeds of 100 starts. With pixels
the operator knows cube and slot only as well as the cameras resolve them. Cloning is that of the preset: its first
policy, never updated by reinforcement learning, acting on its mean (algorithm.stall_steps=0). The starts are those that
select checkpoints, so that the final figures of a run are on others.

Each cell is a folder under runs/play/; one that has a cell.json is done and is not run again. docs/play.json is written
anew after every cell.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from actor.evaluate import Evaluation, evaluate
from actor.record import RecordConfig, record
from benchmarks.cells import ROOT
from benchmarks.origin import machine, numbered
from cli import learner
from cli.composition import compose_verb
from envs.registry import derive_contract
from envs.so101_interface import SO101SimConfig
from episodes.contract import Contract
from episodes.durable import write_durably
from episodes.log import read_log
from episodes.seeds import SeedStream
from learner.algorithms import build_algorithm
from learner.algorithms.sac_config import SACConfig
from learner.replay import ReplayBuffer
from metrics.wilson import wilson_interval
from policies.snapshot import save_snapshot

RUNS = ROOT / "runs" / "play"
ENV = "so101_sim"
OBSERVATIONS = ("state", "pixels")
PLAYS_MM = (8.0, 6.0, 4.0, 3.0, 2.0)
SEEDS = (0, 1, 2)
STARTS = 100
DEMONSTRATIONS = 20
CLONING_BELOW = 0.60
OPERATOR_FROM = 0.95
REPLAY_BYTES = 1_000_000_000
CLONING, OPERATOR = "cloning", "operator"


@dataclass(frozen=True)
class Cell:
    """One evaluation of 100 starts: of the cloned policy, or of the operator who demonstrated."""

    who: str
    obs: str
    play_mm: float
    seed: int

    @property
    def folder(self) -> Path:
        return RUNS / f"{self.obs}-{self.play_mm:g}mm-seed{self.seed}"

    @property
    def env_config(self) -> SO101SimConfig:
        return SO101SimConfig(task="insert", obs=self.obs, play_mm=self.play_mm)

    def result(self) -> dict[str, Any] | None:
        path = self.folder / f"{self.who}.json"
        return json.loads(path.read_text()) if path.exists() else None


def preset(obs: str = "state") -> SACConfig:
    """The settings of SAC with this task and these observations, as `tandem learner` composes them, but that the cloned
    policy acts on its mean also where it has come to rest."""
    arguments = ["env.task=insert", f"env.obs={obs}", "algorithm.stall_steps=0"]
    return compose_verb("learner", learner.list_keys(), learner.list_groups(), arguments).configs["algorithm"]


def run(cell: Cell, config: SACConfig, starts: int = STARTS, demonstrations: int = DEMONSTRATIONS) -> dict[str, Any]:
    """Runs one cell and keeps what came of it."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    payload = b""
    if cell.who == CLONING:
        demos = cell.folder / "demonstrations"
        code = record(RecordConfig(ENV, cell.env_config, str(demos), demonstrations, seed=cell.seed))
        if code:
            raise RuntimeError(f"{demos}: recording ended with exit code {code}")
        payload = cloned_policy(derive_contract(ENV, cell.env_config), config, demos, cell.seed)
    cloned_s = time.monotonic() - began_s
    found = _evaluate(cell, payload, starts)
    result = {
        "who": cell.who,
        "obs": cell.obs,
        "play_mm": cell.play_mm,
        "seed": cell.seed,
        "successes": found.successes,
        "episodes": found.episodes,
        "cycle_steps": found.cycle_steps,
        "seconds": round(time.monotonic() - began_s, 1),
        "cloning_s": round(cloned_s, 1),
        "machine": machine(),
    }
    write_durably(cell.folder / f"{cell.who}.json", (json.dumps(result, indent=1) + "\n").encode())
    return result


def _evaluate(cell: Cell, payload: bytes, starts: int) -> Evaluation:
    return evaluate(
        ENV,
        cell.env_config,
        policy=payload,
        operator="" if payload else "scripted",
        episodes=starts,
        seed=cell.seed,
        stream=SeedStream.SELECTION,
    )


def cloned_policy(contract: Contract, config: SACConfig, demonstrations: Path, seed: int) -> bytes:
    """The first policy of a run with these demonstrations: cloned as a learner does it."""
    replay = ReplayBuffer(
        contract, capacity_bytes=REPLAY_BYTES, protected_share=0.9, n_step=config.n_step, gamma=config.gamma, seed=seed
    )
    for _, entry in read_log(demonstrations / "log"):
        replay.apply(entry)
    algorithm = build_algorithm(contract, config, device="cpu", seed=seed)
    algorithm.freeze_statistics(replay.statistics())
    for _ in range(config.clone_updates):
        algorithm.clone(replay.sample_demonstrations(config.batch_size, algorithm.shift_px))
    return save_snapshot(algorithm.ema_policy, 0)


def pooled(obs: str) -> list[dict[str, Any]]:
    """A row for each play of which every cell is done."""
    rows = []
    for play_mm in PLAYS_MM:
        row: dict[str, Any] = {"obs": obs, "play_mm": play_mm, "machine": ""}
        machines: dict[str, None] = {}
        for who in (OPERATOR, CLONING):
            cells = [r for seed in SEEDS if (r := Cell(who, obs, play_mm, seed).result())]
            if len(cells) < len(SEEDS):
                break
            machines |= dict.fromkeys(cell.get("machine", "a machine that was not noted") for cell in cells)
            successes, episodes = (sum(cell[key] for cell in cells) for key in ("successes", "episodes"))
            low, high = wilson_interval(successes, episodes)
            row[who] = {
                "successes": successes,
                "episodes": episodes,
                "success_rate": successes / episodes,
                "ci_low": low,
                "ci_high": high,
                "of_seeds": [cell["successes"] / cell["episodes"] for cell in cells],
                "cycle_steps": sum(c["cycle_steps"] * c["successes"] for c in cells) / max(1, successes),
            }
        else:
            row["machine"] = " and ".join(machines)
            row["qualifies"] = qualifies(row[CLONING]["success_rate"], row[OPERATOR]["success_rate"])
            rows.append(row)
    return rows


def qualifies(cloning: float, operator: float) -> bool:
    return cloning < CLONING_BELOW and operator >= OPERATOR_FROM


def chosen_play_mm(rows: list[dict[str, Any]]) -> float | None:
    """The play that the rule gives, None where no play that was tried qualifies."""
    return max((row["play_mm"] for row in rows if row["qualifies"]), default=None)


def write(out: Path) -> dict[str, Any]:
    """docs/play.json from the cells there are; what it says of other plays stays."""
    try:
        rows = json.loads((out / "play.json").read_text())["rows"]
    except FileNotFoundError:
        rows = []
    known = {(row["obs"], row["play_mm"]): row for row in rows}
    known |= {(row["obs"], row["play_mm"]): row for obs in OBSERVATIONS for row in pooled(obs)}
    tables = {obs: [known[obs, mm] for mm in PLAYS_MM if (obs, mm) in known] for obs in OBSERVATIONS}
    found = {
        "rule": f"the largest of {', '.join(f'{p:g}' for p in PLAYS_MM)} mm with cloning on {DEMONSTRATIONS} "
        f"demonstrations below {CLONING_BELOW:.0%} and the scripted operator at {OPERATOR_FROM:.0%} or more",
        "command": "python -m benchmarks.play --obs OBS",
        "play_mm": {obs: chosen_play_mm(rows) for obs, rows in tables.items() if rows},
        "rows": [row for rows in tables.values() for row in rows],
    }
    write_durably(out / "play.json", (json.dumps(found, indent=1) + "\n").encode())
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    machines = numbered(rows)
    lines = [
        *(f"{mark} On {where}.".strip() for where, mark in machines.items()),
        "",
        "| observations | play | operator | its cycle, steps | cloning | of the seeds | qualifies |",
        "|" + "---|" * 7,
    ]
    for row in rows:
        said = {
            w: f"{row[w]['success_rate']:.2f} ({row[w]['ci_low']:.2f}-{row[w]['ci_high']:.2f})"
            for w in (OPERATOR, CLONING)
        }
        seeds = ", ".join(f"{rate:.2f}" for rate in row[CLONING]["of_seeds"])
        lines.append(
            f"| {row['obs']} | {row['play_mm']:g} mm {machines[row['machine']]}".rstrip()
            + f" | {said[OPERATOR]} | {row[OPERATOR]['cycle_steps']:.1f} "
            f"| {said[CLONING]} | {seeds} | {'yes' if row['qualifies'] else 'no'} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--obs", choices=OBSERVATIONS, default="state")
    parser.add_argument("--all", action="store_true", help="try every play, also below the one that the rule gives")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = preset(arguments.obs)
    for play_mm in PLAYS_MM:
        for who in (OPERATOR, CLONING):
            for seed in SEEDS:
                cell = Cell(who, arguments.obs, play_mm, seed)
                if cell.result() is None:
                    result = run(cell, config)
                    print(f"{cell.folder.name} {who}: {result['successes']}/{result['episodes']}", flush=True)
                    write(ROOT / "docs")
        if chosen_play_mm(pooled(arguments.obs)) is not None and not arguments.all:
            break
    found = write(ROOT / "docs")
    print(table(found["rows"]))
    print(f"play: {found['play_mm']}")


if __name__ == "__main__":
    main()
