"""DrQ-v2 in whole programs: minutes each, run by `make test-long`.

The published curves need a GPU and a million frames. Stated in advance for a CPU: the stock network (the published
encoder on 84 x 84 images of three frames, trunks of 50, perceptrons of 1024) learns to reach a marker, to 2 cm, from
two cameras and proprioception, with 20 demonstrations and interventions, in some 10-15 minutes of one core.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.long.programs import demo, returns_of_a_trained_policy

pytestmark = pytest.mark.long

PIXELS = ("obs=pixels", "algorithm=drqv2", "film=false", "tracker=none")
STOCK_NETWORK = (
    "env.image_height=84",
    "env.image_width=84",
    "env.image_stack=3",
    "algorithm.encoder=drqv2",
    "algorithm.trunk_size=50",
    "algorithm.hidden=[1024,1024]",
)
SMALLER_TASK = (
    "env.task=reach",
    "env.reach_tolerance_m=0.02",
    "algorithm.batch_size=32",
    "algorithm.clone_updates=600",
    "algorithm.ema=0.01",
    "algorithm.critic_lr=3e-4",
    "algorithm.actor_lr=3e-4",
    "algorithm.encoder_lr=3e-4",
)


def test_a_gymnasium_task_is_learned_from_scratch(tmp_path: Path):
    explore = ("warmup=uniform", "warmup_steps=500")
    settings = ("algorithm=drqv2", "env.id=Pendulum-v1", "stop.max_env_steps=4000", *explore)
    returns = returns_of_a_trained_policy(tmp_path, *settings)
    assert sum(returns) / len(returns) > -300.0


def test_the_stock_network_learns_the_smaller_task(tmp_path: Path):
    settings = (*PIXELS, *STOCK_NETWORK, *SMALLER_TASK, "stop.max_time_s=1500")
    summary, _ = demo(tmp_path / "run", *settings, timeout_s=3600, codes=(0, 3))
    assert summary["success_rate"] >= 0.9


def test_the_lift_is_learned_from_pixels_with_a_person(tmp_path: Path):
    summary, _ = demo(tmp_path / "run", *PIXELS, timeout_s=1500, codes=(0, 3))
    assert summary["success_rate"] >= 0.9
    assert summary["intervention_rate"] < 0.1
