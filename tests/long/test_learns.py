"""Whole programs that learn: minutes each, run by `make test-long`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from metrics.names import METRICS

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


def tandem(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", *arguments]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize(("env_id", "steps", "mark"), [("Pendulum-v1", 6000, -300.0), ("Reacher-v5", 6000, -7.0)])
def test_a_gymnasium_task_is_learned_from_scratch(tmp_path: Path, env_id: str, steps: int, mark: float):
    run, token = tmp_path / "run", f"learner.token_path={tmp_path / 'token'}"
    address = f"learner.address=127.0.0.1:{free_port()}"
    settings = [f"env.id={env_id}", f"stop.max_env_steps={steps}", "evaluation.every_env_steps=0", "tracker=none"]
    learner = subprocess.Popen(tandem("learner", "env=gym", *settings, f"run={run}", address, token))
    actor = subprocess.Popen(tandem("actor", address, token, f"actor.spool={tmp_path / 'spool'}"))
    try:
        assert learner.wait(1500) == 0
        assert actor.wait(60) == 0
    finally:
        learner.kill()
        actor.kill()
    out = tmp_path / "evaluation.json"
    subprocess.run(tandem("eval", f"run={run}", "policy=last", "episodes=20", f"out={out}"), check=True, timeout=300)
    returns = json.loads(out.read_text())["returns"]
    assert len(returns) == 20
    assert sum(returns) / len(returns) > mark


def test_the_demo_learns_and_leaves_what_it_promises(tmp_path: Path):
    run = tmp_path / "run"
    done = subprocess.run(tandem("demo", "seed=3", f"run={run}"), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary = json.loads((run / "summary.json").read_text())
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
    }
    assert (run / "config.yaml").exists()
    assert list((run / "log").glob("segment-*.log"))
    assert list((run / "wandb").iterdir())
    for line in ("success", "cycle", "interventions", "run folder"):
        assert f"\n{line}" in done.stdout
