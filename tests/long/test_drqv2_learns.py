"""DrQ-v2 in whole programs: minutes each, run by `make test-long`.

The published curves need a GPU and a million frames. What the stock network is to learn on a CPU is stated, and its
command given, in docs/encoders.md; that command is run here. Both tasks from pixels begin with three demonstrations:
with twenty, cloning alone may pass. The cloned policy is judged on the same starts, and must stay far below.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.long.programs import demo, documented_demo, returns_of_a_trained_policy, success_of_the_first_policy

pytestmark = pytest.mark.long

DOCUMENT = Path(__file__).parents[2] / "docs" / "encoders.md"
PIXELS = ("obs=pixels", "algorithm=drqv2", "demonstrations=3", "film=false", "tracker=none")
MARGIN = 0.3


def test_a_gymnasium_task_is_learned_from_scratch(tmp_path: Path):
    explore = ("warmup=uniform", "warmup_steps=500")
    settings = ("algorithm=drqv2", "env.id=Pendulum-v1", "stop.max_env_steps=4000", *explore)
    returns = returns_of_a_trained_policy(tmp_path, *settings)
    assert sum(returns) / len(returns) > -300.0


def test_the_stock_network_learns_the_smaller_task(tmp_path: Path):
    run = tmp_path / "run"
    settings = (*documented_demo(DOCUMENT.read_text()), "film=false", "tracker=none")
    summary, _ = demo(run, *settings, timeout_s=3600, codes=(0, 3))
    assert summary["success_rate"] >= 0.9
    assert success_of_the_first_policy(run) <= summary["success_rate"] - MARGIN


def test_the_lift_is_learned_from_pixels_with_a_person(tmp_path: Path):
    run = tmp_path / "run"
    summary, _ = demo(run, *PIXELS, timeout_s=1500, codes=(0, 3))
    assert summary["success_rate"] >= 0.9
    assert summary["intervention_rate"] < 0.1
    assert success_of_the_first_policy(run) <= summary["success_rate"] - MARGIN
