"""Whole programs that learn: minutes each, run by `make test-long`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metrics.names import METRICS
from tests.long.programs import demo, returns_of_a_trained_policy

pytestmark = pytest.mark.long

SUMMARY = [
    "seed",
    "obs",
    "success_rate",
    "successes",
    "episodes",
    "ci_low",
    "ci_high",
    "intervention_rate",
    "train_wall_s",
    "first_update_s",
    "env_steps",
    "updates",
    "cycle_steps",
    "operator_cycle_steps",
]


@pytest.mark.parametrize(("env_id", "steps", "mark"), [("Pendulum-v1", 6000, -300.0), ("Reacher-v5", 6000, -7.0)])
def test_a_gymnasium_task_is_learned_from_scratch(tmp_path: Path, env_id: str, steps: int, mark: float):
    returns = returns_of_a_trained_policy(tmp_path, f"env.id={env_id}", f"stop.max_env_steps={steps}")
    assert sum(returns) / len(returns) > mark


def test_the_demo_learns_with_a_gripper_critic(tmp_path: Path):
    run = tmp_path / "run"
    summary, _ = demo(run, "algorithm.gripper=discrete", timeout_s=900)
    assert summary["success_rate"] >= 0.9
    assert '"gripper_loss"' in (run / "metrics.jsonl").read_text()


def test_the_demo_learns_and_leaves_what_it_promises(tmp_path: Path):
    run = tmp_path / "run"
    summary, said = demo(run, timeout_s=900)
    assert set(SUMMARY) <= set(summary)
    assert summary["episodes"] == 50
    assert summary["success_rate"] >= 0.9
    assert summary["intervention_rate"] < 0.05
    assert summary["cycle_steps"] <= summary["operator_cycle_steps"]
    assert summary["updates"] <= 2 * summary["env_steps"]
    report = (run / "report.html").read_text()
    assert report.count("data:image/gif") == 2
    assert "http://" not in report.replace("http://www.w3.org", "")
    logged = {name for line in (run / "metrics.jsonl").read_text().splitlines() for name in json.loads(line)}
    assert {metric.name for metric in METRICS} - logged <= {
        "control_period_ms_p50",
        "control_period_ms_p99",
        "exploration_std",
        "gripper_loss",
    }
    assert (run / "config.yaml").exists()
    assert list((run / "log").glob("segment-*.log"))
    assert list((run / "wandb").iterdir())
    for line in ("success", "cycle", "interventions", "run folder"):
        assert f"\n{line}" in said
