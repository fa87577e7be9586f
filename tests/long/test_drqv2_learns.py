"""DrQ-v2 in whole programs: minutes each, run by `make test-long`.

The published curves need a GPU and a million frames. Stated in advance for a CPU: the stock network (the published
encoder on 84 x 84 images of three frames, trunks of 50, perceptrons of 1024) learns to reach a marker, to 2 cm, from
two cameras and proprioception, with 20 demonstrations and interventions, in some 10-15 minutes of one core.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

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


def tandem(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", *arguments]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_gymnasium_task_is_learned_from_scratch(tmp_path: Path):
    run, token = tmp_path / "run", f"learner.token_path={tmp_path / 'token'}"
    address = f"learner.address=127.0.0.1:{free_port()}"
    settings = ["env.id=Pendulum-v1", "stop.max_env_steps=4000", "evaluation.every_env_steps=0", "tracker=none"]
    explore = ["warmup=uniform", "warmup_steps=500"]
    learner = subprocess.Popen(
        tandem("learner", "env=gym", "algorithm=drqv2", *settings, *explore, f"run={run}", address, token)
    )
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
    assert sum(returns) / len(returns) > -300.0


def demo(run: Path, *settings: str, timeout_s: float) -> dict:
    arguments = ("demo", "obs=pixels", "algorithm=drqv2", "seed=3", "film=false", "tracker=none", f"run={run}")
    done = subprocess.run(tandem(*arguments, *settings), capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode in (0, 3), done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((run / "summary.json").read_text())


def test_the_stock_network_learns_the_smaller_task(tmp_path: Path):
    summary = demo(tmp_path / "run", *STOCK_NETWORK, *SMALLER_TASK, "stop.max_time_s=1500", timeout_s=3600)
    assert summary["success_rate"] >= 0.9


def test_the_lift_is_learned_from_pixels_with_a_person(tmp_path: Path):
    summary = demo(tmp_path / "run", timeout_s=1500)
    assert summary["success_rate"] >= 0.9
    assert summary["intervention_rate"] < 0.1
