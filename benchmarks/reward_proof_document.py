"""docs/reward-proof.md, and its section of docs/results.md, from the results of `make reward-proof SEED=s`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inference import CLASSIFIER
from benchmarks.reward_proof_training import FEW
from benchmarks.reward_proof_world import ELSEWHERE
from envs.teleop.scripted_misses import ALMOST_M, NEAR_MISSES
from metrics.wilson import wilson_interval
from reward.calibration import poisson_interval

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "runs" / "reward-proof"
TUNED_ON = 0
SECTION = "## The reward classifier"
_SECTION = re.compile(rf"\n+{re.escape(SECTION)}\n.*?(?=\n## |\Z)", re.DOTALL)
_DRAWS = 10_000
_WORLDS = {"unchanged": "nothing changed", "training": "training", "elsewhere": "elsewhere"}


def write_documents() -> None:
    """Writes docs/reward-proof.md, and the section in docs/results.md in place of the one there is."""
    found = [json.loads(path.read_text()) for path in RESULTS.glob("seed-*/result.json")]
    found.sort(key=lambda result: result["seed"])
    planted = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("planted-*/result.json"))]
    docs = ROOT / "docs"
    (docs / "reward-proof.md").write_text(document(found, planted))
    results = docs / "results.md"
    results.write_text(with_section(results.read_text(), section(found)))


def with_section(text: str, own: str) -> str:
    """``text`` with ``own`` in place of the section that begins as it does, else at the end."""
    before = _SECTION.sub("\n", text)
    return f"{before.rstrip()}\n\n{own.rstrip()}\n"


def section_of(text: str) -> str:
    """That section of ``text``; empty where it has none."""
    found = _SECTION.search(text)
    return found[0].strip() if found else ""


def section(found: Sequence[dict[str, Any]]) -> str:
    """The section of docs/results.md."""
    return "\n".join(
        (
            SECTION,
            "",
            "By `python -m benchmarks.reward_proof --document`, from `make reward-proof SEED=s`; [reward-proof.md]"
            "(reward-proof.md) has",
            "the rest, and which seeds were seen while it was made.",
            "",
            *_pooled(found),
            "",
            *_per_seed(found),
        )
    )


def document(found: Sequence[dict[str, Any]], planted: Sequence[dict[str, Any]]) -> str:
    """The text of docs/reward-proof.md."""
    gates = sorted({gate for r in found for gate in r["gates"]})
    settings = ", ".join(f"env.{key}={value}" for key, value in ELSEWHERE.items())
    lines = [
        "# The success classifier, measured",
        "",
        f"By `python -m benchmarks.reward_proof --document`, from {len(found)} runs of `make reward-proof SEED=s`. "
        "Settings were",
        f"chosen on seed {TUNED_ON}, which is not in the pooled figures, and on 10 to 14; what earlier forms failed by",
        "on seeds 1 and 2 was mended, and these were then run anew.",
        "",
        "Some 200 frames of success and 1,000 without, of the scripted person in the simulated SO-101 as it is.",
        f"Measured in unseen episodes with {settings};",
        f"the gate is {', '.join(gates)} (`tandem reward train gates=`). Precision and recall are per episode, of as",
        "many successes as near misses; false positives an hour, after confirmation, with the exact 95 % interval; p99",
        f"of a score in ms ({CLASSIFIER}). `null`: not run.",
        f"Near misses, in the labels as in the measurement: {'; '.join(NEAR_MISSES.values())}.",
        f"What is held short of success is held at {1e3 * ALMOST_M[0]:.0f} to {1e3 * ALMOST_M[1]:.0f} of the 50 mm; "
        "what is held between that and 50 mm was not measured.",
        "",
        *_pooled(found),
        "",
        "## Each seed",
        "",
        "The report's own estimate is of minutes: its interval is wide, and `holds` can hardly fail.",
        "",
        *_per_seed(found),
        "",
        "## The gate alone",
        "",
        "The same episodes, judged by the gate and confirmation, whatever the cameras show: what is better above, the",
        "classifier adds. It did not learn from what the gate rules out, and is worth nothing without it.",
        "",
        "| seed | precision | recall | false positives an hour | of hours |",
        "|---|---|---|---|---|",
        *(
            f"| {r['seed']} | {_share(r['gates_alone']['precision'])} | {_share(r['gates_alone']['recall'])} "
            f"| {_rate(r['gates_alone'])} | {r['gates_alone']['hours']:.2f} |"
            for r in found
        ),
        "",
        *_training(found),
        "## The drift alarm",
        "",
        "Looks at the last 300 frames where the gate holds, once in 50 of them; `began` counts how often a warning",
        "began. Nothing changed: the",
        "scripted person's successes and near misses in the world of the labels. Training: the policy's, the person's",
        "and the evaluations' steps of the training with it, in the same world. Elsewhere: the episodes measured",
        "above, whose light, cameras and colours differ from the labels' and from each other.",
        "",
        "| seed | world | hours | frames where the gate holds | looks | warned | began | largest distance |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {r['seed']} | {name} | {d['hours']:.2f} | {d['frames']} | {d['looks']} | {d['warned']} | {d['began']} "
            f"| {d['largest']} |"
            for r in found
            for name, d in ((_WORLDS[key], r["drift"][key]) for key in _WORLDS if key in r["drift"])
        ),
        "",
        *_planted(planted),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _pooled(found: Sequence[dict[str, Any]]) -> list[str]:
    fresh = [r for r in found if r["seed"] != TUNED_ON]
    if not fresh:
        return ["No seed but the one for tuning has run."]
    lines = ["| pooled over fresh seeds | mark | measured | of |", "|---|---|---|---|"]
    seeds = ", ".join(str(r["seed"]) for r in fresh)
    for name, mark in (("precision", ">= 0.98"), ("recall", ">= 0.95")):
        count = sum(r["per_episode"][name]["count"] for r in fresh)
        of = sum(r["per_episode"][name]["of"] for r in fresh)
        low, high = wilson_interval(count, of)
        lines.append(f"| {name} per episode | {mark} | {count / of:.3f} ({low:.3f}-{high:.3f}) | {of}, seeds {seeds} |")
    events, hours = sum(r["false_positives"] for r in fresh), sum(r["hours"] for r in fresh)
    low, high = poisson_interval(events, hours)
    rate = f"{events / hours:.2f} ({low:.2f}-{high:.2f})"
    lines.append(f"| false positives an hour, with the gate | <= 2 | {rate} | {hours:.2f} h |")
    events = sum(r["gates_alone"]["false_positives"] for r in fresh)
    hours = sum(r["gates_alone"]["hours"] for r in fresh)
    low, high = poisson_interval(events, hours)
    lines.append(f"| by the gate alone | | {events / hours:.2f} ({low:.2f}-{high:.2f}) | {hours:.2f} h |")
    both = [r for r in fresh if r["success_classifier_reward"] is not None]
    if both:
        lines += _pooled_training(both)
    return lines


def _pooled_training(both: Sequence[dict[str, Any]]) -> list[str]:
    seeds = ", ".join(str(r["seed"]) for r in both)
    cloned, true, judged = ([r[key] for r in both] for key in ("cloned", "true_reward", "classifier_reward"))
    rates = [sum(t["successes"] for t in of) / sum(t["episodes"] for t in of) for of in (cloned, true, judged)]
    lines = [
        f"| success, classifier as only reward (true reward) | within 5 points | {rates[2]:.3f} ({rates[1]:.3f}) "
        f"| {sum(t['episodes'] for t in judged)} unseen starts, seeds {seeds} |",
        f"| of the cloned policy that both begin with | | {rates[0]:.3f} "
        f"| {sum(t['episodes'] for t in cloned)} unseen starts, seeds {seeds} |",
    ]
    ratio, low, high = ratio_of_medians(*([t["steps_to_mark"] or np.inf for t in of] for of in (true, judged)))
    lines.append(
        f"| median steps to two evaluations in a row >= 90 %, as a multiple of the true reward's | <= 1.5 "
        f"| {ratio:.2f} ({low:.2f}-{high:.2f}, bootstrap over {len(both)} seeds) | seeds {seeds} |"
    )
    return lines


def ratio_of_medians(true: Sequence[float], judged: Sequence[float]) -> tuple[float, float, float]:
    """Median of ``judged`` over that of ``true``, with the 95 % bootstrap interval over seeds, which stay paired."""
    values = np.array((true, judged), float)
    rows = np.random.default_rng(0).integers(0, values.shape[1], (_DRAWS, values.shape[1]))
    with np.errstate(invalid="ignore"):
        drawn = np.median(values[1][rows], 1) / np.median(values[0][rows], 1)
        low, high = np.quantile(drawn, (0.025, 0.975), method="nearest")
        return float(np.median(values[1]) / np.median(values[0])), float(low), float(high)


def _per_seed(found: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| seed | precision | recall | false positives an hour | of hours | the report's own estimate | holds | p99 "
        "| success, true reward | success, classifier |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in found:
        low, high = r["estimate"]["interval"]
        holds = "yes" if r["estimate_holds"] else "no"
        if not r["estimate"].get("held_out"):  # of a report whose threshold came from the same frames
            holds = "by construction"
        lines.append(
            f"| {r['seed']} | {_share(r['precision'])} | {_share(r['recall'])} | {_rate(r)} | {r['hours']:.2f} "
            f"| {r['estimate']['rate']:.1f} ({low:.1f}-{high:.1f}) | {holds} "
            f"| {r['latency_ms_p99']} | {json.dumps(r['success_true_reward'])} "
            f"| {json.dumps(r['success_classifier_reward'])} |"
        )
    return lines


def _training(found: Sequence[dict[str, Any]]) -> list[str]:
    both = [r for r in found if r["success_classifier_reward"] is not None]
    if not both:
        return []
    lines = [
        "## Training with it",
        "",
        "`tandem demo obs=pixels`, with the true reward and with the classifier as the only one, demonstrations",
        "included; training ends with two evaluations in a row >= 90 % as whoever gives the reward sees them. All",
        "figures here are by the simulator's true success: on starts never used before, and of the evaluations in the",
        f"log of the run. The policy is cloned from few demonstrations ({' '.join(FEW)}) before the first update;",
        "`cloning alone` is that policy, never updated, from demonstrations judged by the true reward.",
        "",
        "| seed | reward | success on unseen starts | steps to two evaluations >= 90 % | steps of training |",
        "|---|---|---|---|---|",
    ]
    for r in both:
        for name, key in (("cloning alone", "cloned"), ("true", "true_reward"), ("classifier", "classifier_reward")):
            t = r[key]
            lines.append(
                f"| {r['seed']} | {name} | {t['successes']}/{t['episodes']} | {json.dumps(t['steps_to_mark'])} "
                f"| {t['env_steps']} |"
            )
    return [*lines, ""]


def _planted(found: Sequence[dict[str, Any]]) -> list[str]:
    if not found:
        return []
    lines = [
        "## A classifier that can be exploited, and corrections",
        "",
        "`python -m benchmarks.reward_proof_planted --seed s`: a classifier from 18 successes and the first frames of",
        "the same episodes, without hard negatives and without a gate, is the only reward of a training, but for its",
        "demonstrations. The scripted person says of each success of the classifier that was none that it was wrong,",
        f"through the service, as `tandem label` does; after every {found[0]['retrain_after']} such words",
        "`tandem reward train` runs again, and the actor swaps the new one in.",
        "",
        "| seed | classifier's successes that were none, before the first new one | with the last one | corrections "
        "| new classifiers | success on unseen starts | drift alarm before the first new one |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in found:
        first, last = r["versions"][0], r["versions"][-1]
        lines.append(
            f"| {r['seed']} | {first['wrong']} of {first['successes']} | {last['wrong']} of {last['successes']} "
            f"| {r['corrections']} | {len(r['versions']) - 1} | {r['successes']}/{r['episodes']} "
            f"| {'yes' if first['drift'] else 'no'} |"
        )
    return [*lines, ""]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _rate(found: dict[str, Any]) -> str:
    low, high = found["fp_per_hour_interval"]
    return f"{found['fp_per_hour']:.1f} ({low:.1f}-{high:.1f})"
