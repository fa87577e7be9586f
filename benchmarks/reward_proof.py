"""How good a success classifier from 200 positive and 1,000 negative frames is, and training with it as only reward.

    python -m benchmarks.reward_proof --seed 0

Labels are recorded by the scripted person in the simulated SO-101 as it is; measured is in episodes with other light,
moved cameras and other cube colours, by the simulator's true success. What is there already is not made again, so that
the command can be stopped and repeated. The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inference import CLASSIFIER, classifier_milliseconds
from benchmarks.reward_proof_document import RESULTS, write_documents
from benchmarks.reward_proof_training import CLONED, scores, tandem, trained
from benchmarks.reward_proof_world import Gates, alarms, classifier_of, measure, unchanged
from episodes.contract_file import load_contract
from episodes.durable import write_durably
from reward.report import JSON_FILE
from reward.storage import FILE

SUCCESSES, MISSES = 18, 24
"""Recorded episodes: about 200 frames of success and 1,000 without."""
GATE = "tool.z>0.065"
"""A lifted cube is 50 mm above the table, and a gripper holds it by its middle, 15 mm above its bottom: an arm knows
how high its tool is."""
DRIFT_HOURS = 0.25
CONTROL_HZ = 10.0


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``make`` gives, written to ``path``; what is there already is read."""
    if not path.is_file():
        write_durably(path, (json.dumps(make(), indent=1) + "\n").encode())
    return json.loads(path.read_text())


def prove(seed: int, out: Path, *, episodes: int, hours: float, training: bool) -> dict[str, Any]:
    """Every figure of one seed."""
    labels, model = out / "labels", out / "classifier"
    if not labels.exists():
        unfinished = labels.with_name("labels.unfinished")
        amounts = (f"episodes={SUCCESSES}", f"near_misses={MISSES}")
        tandem("record", "env.obs=pixels", "reward=human", f"seed={seed}", f"out={unfinished}", *amounts)
        unfinished.rename(labels)
    if not (model / FILE).is_file():
        tandem("reward", "train", f"data={labels}", f"out={model}", f"seed={seed}", "name=lift", f"gates=[{GATE}]")
    report, classifier = json.loads((model / JSON_FILE).read_text()), classifier_of(model)
    print(f"unseen episodes, and {hours:g} h without success, in other light ...", flush=True)
    found = kept(out / f"measured-{hours:g}h.json", lambda: measure(classifier, seed, episodes, hours))
    print("the drift alarm where nothing has changed ...", flush=True)
    drift = kept(out / "drift.json", lambda: unchanged(classifier, seed, DRIFT_HOURS))
    result = {
        "seed": seed,
        **figures(found),
        "gates": [GATE],
        "gates_alone": figures(found["gates_alone"]),
        "classifier": classifier.version,
        "drift": {"unchanged": drift, "elsewhere": found["drift"]},
        "latency_ms_p99": round(float(np.percentile(classifier_milliseconds(), 99)), 2),
        "success_true_reward": None,
        "success_classifier_reward": None,
    }
    low, high = report["false_positives_an_hour"]["interval"]
    result["estimate"] = {key: report["false_positives_an_hour"][key] for key in ("rate", "interval")}
    result["estimate"]["held_out"] = "thresholds_of_folds" in report
    result["estimate_holds"] = low <= result["fp_per_hour"] <= high
    if training:
        cloned = trained(out / "cloned", seed, *CLONED)
        true = trained(out / "true", seed)
        judged = trained(out / "judged", seed, "reward=classifier", f"reward.model={model}")
        result |= {"success_true_reward": true["success"], "success_classifier_reward": judged["success"]}
        result |= {"cloned": cloned, "true_reward": true, "classifier_reward": judged}
        gates = Gates(classifier, load_contract(out / "judged" / "contract.json"))
        result["drift"]["training"] = alarms(scores(out / "judged", gates.allow), classifier, CONTROL_HZ)
    return result


def figures(found: dict[str, Any]) -> dict[str, Any]:
    """The figures of the JSON line, from what was measured."""
    hourly, per_episode = found["false_positives_an_hour"], found["per_episode"]
    return {
        "precision": per_episode["precision"]["value"],
        "recall": per_episode["recall"]["value"],
        "per_episode": per_episode,
        "fp_per_hour": hourly["rate"],
        "fp_per_hour_interval": [round(bound, 2) for bound in hourly["interval"]],
        "false_positives": hourly["events"],
        "hours": round(hourly["hours"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="runs/reward-proof/seed-SEED")
    parser.add_argument("--episodes", type=int, default=60, help="unseen successes, and as many near misses")
    parser.add_argument("--hours", type=float, default=0.5, help="of robot time without success, for false positives")
    parser.add_argument("--no-training", action="store_true", help="leave out the two trainings of a policy")
    parser.add_argument("--document", action="store_true", help="write docs/reward-proof.md from what there is")
    arguments = parser.parse_args()
    if arguments.document:
        write_documents()
        return
    out = arguments.out or RESULTS / f"seed-{arguments.seed}"
    out.mkdir(parents=True, exist_ok=True)
    result = prove(
        arguments.seed,
        out,
        episodes=arguments.episodes,
        hours=arguments.hours,
        training=not arguments.no_training,
    )
    write_durably(out / "result.json", (json.dumps(result) + "\n").encode())
    print(f"measured with {CLASSIFIER}", flush=True)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
