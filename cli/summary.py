"""summary.json of a demo: what the log, the metrics and the final evaluation say about a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learner.resuming import SUMMARY
from metrics import names
from metrics.history import read_history
from metrics.wilson import wilson_interval

if TYPE_CHECKING:
    from actor.evaluate import Evaluation


WINDOW = names.WINDOW_EPISODES
FINAL_MARK = 0.9
"""Success on the unseen starts from which a demo counts as reached, once training has stopped by itself."""


@dataclass(frozen=True)
class TrainingRecord:
    """What the log of a run says.

    Attributes:
        env_steps: Steps of training episodes.
        human_steps: Steps that a person drove, demonstrations included.
        episodes: Training episodes.
        intervention_rate_first: Human steps among those of the first 20 training episodes; None before there are 20.
        intervention_rate_peak: The most in any 20 that follow each other; None before there are 20.
        intervention_rate: Of the last 20, or of all where there are fewer; None before the first.
        demonstration_cycle_steps: Mean steps of successful demonstrations; None where there are none.
    """

    env_steps: int
    human_steps: int
    episodes: int
    intervention_rate_first: float | None
    intervention_rate_peak: float | None
    intervention_rate: float | None
    demonstration_cycle_steps: float | None


def read_training(log_folder: Path) -> TrainingRecord:
    """Reads a run's log from its beginning. Raises LogError where there is none or it is damaged."""
    from episodes.log import read_log
    from episodes.outcome import Purpose
    from learner.episode_metrics import EpisodeMetrics

    counts = EpisodeMetrics(gamma=0.99)
    ended: dict[str, Any] = {}
    human: dict[str, int] = {}
    for _, entry in read_log(log_folder):
        episode = counts.apply(entry)
        if episode is not None:
            human[episode.id] = episode.human_steps
            if episode.purpose == Purpose.TRAINING:
                ended[episode.id] = episode
    counted = [episode for episode in ended.values() if episode.counted]
    whole = [_human_share(counted[i : i + WINDOW]) for i in range(len(counted) - WINDOW + 1)]
    shares = [share for share in whole if share is not None]
    return TrainingRecord(
        env_steps=counts.env_steps,
        human_steps=sum(human.values()),
        episodes=counts.episodes,
        intervention_rate_first=whole[0] if whole else None,
        intervention_rate_peak=max(shares, default=None),
        intervention_rate=_human_share(counted[-WINDOW:]),
        demonstration_cycle_steps=counts.operator_cycle_steps,
    )


def summarise(
    run_folder: Path,
    *,
    seed: int,
    obs: str,
    task: str,
    run_id: str,
    evaluation: Evaluation,
    person: Evaluation,
    first_update_s: float | None,
    stopped_by_itself: bool,
    reason: str,
    utd_ratio: float,
) -> dict[str, Any]:
    """The content of summary.json.

    Args:
        run_folder: Of the run.
        seed, obs, task, run_id, utd_ratio: As set.
        evaluation: The policy on the unseen starts.
        person: The scripted person on the same starts.
        first_update_s: From the start of the command to the first gradient step.
        stopped_by_itself: Whether the learner's stop rule ended training, and not a cap.
        reason: Why training ended, in words.
    """
    training = _read_training_json(run_folder)
    record = read_training(run_folder / "log")
    low, high = wilson_interval(evaluation.successes, evaluation.episodes)
    return {
        "seed": seed,
        "obs": obs,
        "success_rate": evaluation.successes / evaluation.episodes,
        "successes": evaluation.successes,
        "episodes": evaluation.episodes,
        "ci_low": low,
        "ci_high": high,
        "intervention_rate": record.intervention_rate,
        "train_wall_s": training["train_wall_s"],
        "first_update_s": first_update_s,
        "env_steps": record.env_steps,
        "human_steps": record.human_steps,
        "updates": int(training["updates"]),
        "cycle_steps": evaluation.cycle_steps if evaluation.successes else None,
        "operator_cycle_steps": person.cycle_steps if person.successes else None,
        "operator_successes": person.successes,
        "demonstration_cycle_steps": record.demonstration_cycle_steps,
        "intervention_rate_first": record.intervention_rate_first,
        "intervention_rate_peak": record.intervention_rate_peak,
        "selection_success_rate": training["selection_success_rate"],
        "training_episodes": record.episodes,
        "utd_ratio": utd_ratio,
        "task": task,
        "run_id": run_id,
        "reached": stopped_by_itself and evaluation.success_rate >= FINAL_MARK,
        "verdict": _verdict(stopped_by_itself, reason, evaluation),
    }


def _verdict(stopped_by_itself: bool, reason: str, evaluation: Evaluation) -> str:
    final = f"on the unseen starts {evaluation.success_rate:.0%}, where {FINAL_MARK:.0%} is asked"
    reached = stopped_by_itself and evaluation.success_rate >= FINAL_MARK
    return f"{'Reached' if reached else 'Not reached'}: in training, {reason}; {final}"


def _read_training_json(run_folder: Path) -> dict[str, Any]:
    """Time, updates and the best scheduled evaluation, from training.json; from metrics.jsonl where it is missing."""
    try:
        training = json.loads((run_folder / "training.json").read_text())
        best = training["best"]
        return {**training, "selection_success_rate": best["success_rate"] if best else None}
    except FileNotFoundError:
        history = read_history(run_folder / "metrics.jsonl")
        return {
            "train_wall_s": history.last(names.TIME_S),
            "updates": history.last(names.UPDATES) or 0,
            "selection_success_rate": max(history.series(names.EVAL_SUCCESS_RATE)[1], default=None),
        }


def save_summary(run_folder: Path, summary: dict[str, Any]) -> None:
    from episodes.durable import write_durably

    write_durably(run_folder / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())


def load_summary(run_folder: Path) -> dict[str, Any] | None:
    """What an earlier demo in this folder found; None where none ended."""
    try:
        return dict(json.loads((run_folder / SUMMARY).read_text()))
    except FileNotFoundError:
        return None


def summary_lines(summary: dict[str, Any], run_folder: Path, tracker: str) -> list[str]:
    """The summary as it is printed at the end of a demo."""
    cycle, operator = summary["cycle_steps"], summary["operator_cycle_steps"]
    first, last = summary["intervention_rate_first"], summary["intervention_rate"]
    peak = summary["intervention_rate_peak"]
    interventions = f"{_share(last)} of steps in all episodes, which are fewer than {WINDOW}"
    if first is not None:
        interventions = (
            f"{_share(first)} of steps in the first {WINDOW} episodes, at most {_share(peak)} in any {WINDOW}, "
        )
        interventions += f"{_share(last)} in the last {WINDOW}"
    lines = [
        str(summary["verdict"]),
        f"success        {summary['success_rate']:.0%} ({summary['successes']} of {summary['episodes']} unseen starts, "
        f"95 % interval {summary['ci_low']:.1%} to {summary['ci_high']:.1%}); "
        f"in the best evaluation of training {_share(summary['selection_success_rate'], 0)}",
        f"cycle          {_steps(cycle)}; the scripted person's on the same starts: {_steps(operator)}, at 60 % of the "
        "arm's top speed",
        f"interventions  {interventions}",
        f"training       {summary['train_wall_s'] or 0:.0f} s, {summary['env_steps']:,} steps, "
        f"{summary['updates']:,} updates",
        f"run folder     {run_folder}",
        f"report         {run_folder / 'report.html'}",
    ]
    return [*lines, f"tracker        {tracker}"] if tracker else lines


def _human_share(episodes: list[Any]) -> float | None:
    steps = sum(episode.steps for episode in episodes)
    return sum(episode.human_steps for episode in episodes) / steps if steps else None


def _steps(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1f} steps"


def _share(value: float | None, digits: int = 1) -> str:
    return "not known" if value is None else f"{value:.{digits}%}"
