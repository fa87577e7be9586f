"""How good a success classifier from 200 positive and 1,000 negative frames is, and training with it as only reward.

    python -m benchmarks.reward_proof --seed 0

Labels are recorded by the scripted person in the simulated SO-101 as it is; measured is in episodes with other light,
moved cameras and other cube colours, by the simulator's true success. The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from actor.classifier_rewarding import ClassifierRewarding
from actor.episode import EpisodeRunner, Plan
from actor.operators import make_operator
from actor.pacing import LockstepPacer
from actor.pilot import Idle
from actor.safety import Guard
from actor.shared import Board, create_block
from benchmarks.inference import CLASSIFIER, classifier_milliseconds
from envs.registry import derive_contract, make_env
from envs.so101_interface import SO101SimConfig
from envs.teleop.scripted_misses import NEAR_MISSES
from episodes.outcome import Purpose
from episodes.seeds import SeedStream, start_seed
from reward.calibration import SECONDS_AN_HOUR, poisson_interval
from reward.config import ClassifierReward
from reward.report import JSON_FILE
from reward.storage import load_classifier, read_classifier
from transport import records_pb2 as pb

SUCCESSES, MISSES = 18, 24
"""Recorded episodes: about 200 frames of success and 1,000 without."""
ELSEWHERE = {"light_jitter": 0.4, "camera_jitter_m": 0.004, "camera_jitter_deg": 0.5, "cube_colours": True}


@dataclass
class Tape:
    """A sink that keeps what the environment and the classifier said of every step of every episode."""

    episodes: list[list[tuple[bool, bool]]] = field(default_factory=list)

    def start_episode(self, start: pb.EpisodeStart) -> None:
        self.episodes.append([])

    def begin_step(self, step: pb.Step) -> None:
        pass

    def finish_step(self, step: pb.Step, observation: list[memoryview]) -> None:
        said = {reward.source.partition(":")[0]: reward.value > 0.5 for reward in step.rewards}
        self.episodes[-1].append((said["env"], said["classifier"]))

    def end_episode(self, end: pb.EpisodeEnd) -> None:
        pass


class Elsewhere:
    """The world that no label is from, with a classifier as judge."""

    def __init__(self, folder: Path, seed: int) -> None:
        config = SO101SimConfig(obs="pixels", **ELSEWHERE)
        contract = derive_contract("so101_sim", config)
        self._env, self._contract, self._seed = make_env("so101_sim", config), contract, seed
        classifier = load_classifier(read_classifier(folder))
        self._rewarding = ClassifierRewarding(ClassifierReward(), contract, classifier)

    def play(self, near_miss: str, episodes: int) -> Tape:
        """Episodes of the scripted person, of success or of one kind of near miss."""
        board, tape = Board(create_block(Board.SIZE)), Tape()
        interface = self._contract.interface
        person = make_operator(
            "scripted",
            self._env,
            interface,
            board=board,
            seed=start_seed(self._seed, SeedStream.FINAL, f"person{near_miss}", 0),
            demonstrate=True,
            near_miss=near_miss,
        )
        runner = EpisodeRunner(
            self._env, self._contract, tape, Guard(self._contract), LockstepPacer(), rewarding=self._rewarding
        )
        for index in range(episodes):
            plan = Plan(Purpose.EVALUATION, start_seed(self._seed, SeedStream.FINAL, f"unseen{near_miss}", index))
            runner.run(plan, Idle(interface.action.shape[0]), person)
        return tape


def measure(folder: Path, seed: int, episodes: int, hours: float) -> dict[str, Any]:
    """Precision and recall of ``episodes`` successes and as many near misses, and false positives in ``hours``."""
    world = Elsewhere(folder, seed)
    confirmed = right = succeeded = events = failing = 0
    rounds = [("", episodes), *((kind, -(-episodes // len(NEAR_MISSES))) for kind in NEAR_MISSES)]
    wanted = hours * SECONDS_AN_HOUR * 10
    while rounds:
        kind, count = rounds.pop(0)
        for steps in world.play(kind, count).episodes:
            said = bool(steps and steps[-1][1])
            true = bool(steps and steps[-1][0])
            succeeded += any(env for env, _ in steps)
            confirmed += said
            right += said and true
            events += said and not true
            failing += sum(not env for env, _ in steps)
        print(f"  {count} episodes of {kind or 'success'}: {confirmed} confirmed, {right} rightly", flush=True)
    precision, recall = right / max(confirmed, 1), right / max(succeeded, 1)
    turn = 0
    while failing < wanted:
        kind = tuple(NEAR_MISSES)[turn % len(NEAR_MISSES)]
        turn += 1
        for steps in Elsewhere(folder, seed + 1000 * turn).play(kind, 20).episodes:
            events += bool(steps and steps[-1][1] and not steps[-1][0])
            failing += sum(not env for env, _ in steps)
        print(f"  {failing / 600:.1f} minutes without success, {events} false positives", flush=True)
    measured = failing / 10 / SECONDS_AN_HOUR
    return {
        "precision": precision,
        "recall": recall,
        "episodes": {"confirmed": confirmed, "right": right, "succeeded": succeeded},
        "fp_per_hour": events / measured,
        "fp_per_hour_interval": [round(bound, 2) for bound in poisson_interval(events, measured)],
        "hours": round(measured, 3),
    }


def tandem(*arguments: str) -> None:
    """One command of ours, its output on ours. Raises CalledProcessError unless it ends with 0 or 3 (a cap)."""
    print(f"$ tandem {' '.join(arguments)}", flush=True)
    code = subprocess.run([sys.executable, "-P", "-m", "cli.main", *arguments]).returncode
    if code not in (0, 3):
        raise subprocess.CalledProcessError(code, arguments)


def trained_success(folder: Path, seed: int, *reward: str) -> tuple[float, int | None]:
    """Success rate by the true referee of a policy trained from pixels, and the environment steps it took."""
    if not (folder / "summary.json").is_file():
        tandem("demo", "obs=pixels", f"seed={seed}", f"run={folder}", "film=false", "tracker=none", *reward)
    summary = json.loads((folder / "summary.json").read_text())
    return summary["success_rate"], summary.get("env_steps")


def _settings() -> str:
    return ", ".join(f"env.{key}={value}" for key, value in ELSEWHERE.items())


def document(folder: Path) -> str:
    """docs/reward-proof.md, from the results in ``folder``."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("seed-*/result.json"))]
    lines = [
        "# The success classifier, measured",
        "",
        f"By `python -m benchmarks.reward_proof --document`, from {len(found)} runs of `make reward-proof SEED=s`.",
        f"Unseen episodes with {_settings()}; precision and recall are per",
        "episode, of as many successes as near misses; false positives an hour with the exact 95 % interval; p99 of a",
        f"score in ms ({CLASSIFIER}). `null`: not run.",
        "",
        "| seed | precision | recall | false positives an hour | of hours | in the report's interval | p99 "
        "| success, true reward | success, classifier |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in found:
        low, high = r["fp_per_hour_interval"]
        lines.append(
            f"| {r['seed']} | {r['precision']:.3f} | {r['recall']:.3f} | {r['fp_per_hour']:.1f} ({low:.1f}-{high:.1f}) "
            f"| {r['hours']:.2f} | {'yes' if r['estimate_holds'] else 'no'} | {r['latency_ms_p99']} "
            f"| {json.dumps(r['success_true_reward'])} | {json.dumps(r['success_classifier_reward'])} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="runs/reward-proof/seed-SEED")
    parser.add_argument("--episodes", type=int, default=60, help="unseen successes, and as many near misses")
    parser.add_argument("--hours", type=float, default=1.0, help="of robot time without success, for false positives")
    parser.add_argument("--no-training", action="store_true", help="leave out the two trainings of a policy")
    parser.add_argument("--document", action="store_true", help="write docs/reward-proof.md from what there is")
    arguments = parser.parse_args()
    if arguments.document:
        Path("docs/reward-proof.md").write_text(document(Path("runs/reward-proof")))
        return
    seed, out = arguments.seed, arguments.out or Path("runs/reward-proof") / f"seed-{arguments.seed}"
    labels, model = out / "labels", out / "classifier"
    if not labels.exists():
        amounts = (f"episodes={SUCCESSES}", f"near_misses={MISSES}")
        tandem("record", "env.obs=pixels", "reward=human", f"seed={seed}", f"out={labels}", *amounts)
    if not (model / JSON_FILE).is_file():
        tandem("reward", "train", f"data={labels}", f"out={model}", f"seed={seed}", "name=lift")
    report = json.loads((model / JSON_FILE).read_text())
    result: dict[str, Any] = {"seed": seed, **measure(model, seed, arguments.episodes, arguments.hours)}
    low, high = report["false_positives_an_hour"]["interval"]
    result["estimate_holds"] = low <= result["fp_per_hour"] <= high
    result["latency_ms_p99"] = round(float(np.percentile(classifier_milliseconds(), 99)), 2)
    result["success_true_reward"] = result["success_classifier_reward"] = None
    if not arguments.no_training:
        true = trained_success(out / "true", seed)
        judged = trained_success(out / "judged", seed, "reward=classifier", f"reward.model={model}")
        result |= {"success_true_reward": true[0], "success_classifier_reward": judged[0]}
        result |= {"steps_true_reward": true[1], "steps_classifier_reward": judged[1]}
    (out / "result.json").write_text(json.dumps(result) + "\n")
    print(f"measured with {CLASSIFIER}", flush=True)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
