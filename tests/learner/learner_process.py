"""A learner as the process it is, in a small gymnasium run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from episodes.log import read_log

TOKEN = "token-of-the-tests-0123456789"
LEARNER = """
import sys
from envs.generic import GymConfig
from episodes.acting import ActingSettings
from learner.algorithms.sac_config import SACConfig
from learner.config import EvaluationConfig, LearnerConfig, StopConfig
from learner.main import run_learner
from learner.replay import ReplayConfig

algorithm = SACConfig(batch_size=16, hidden=(16, 16), utd_ratio=1.0, clone_updates=0, critic_warmup_updates=0)
sys.exit(run_learner(LearnerConfig(
    env="gym", env_config=GymConfig(), run=sys.argv[1], address="localhost:0", algorithm=algorithm,
    replay=ReplayConfig(capacity_gb=0.01), acting=ActingSettings(warmup_steps=20), max_ahead=30, publish_every=20,
    checkpoint_every_s=0.2, report_every_s=0.1, device="cpu", console=False,
    evaluation=EvaluationConfig(every_env_steps=40, episodes=3, patience_s=3.0),
    stop=StopConfig(**eval(sys.argv[2])), tracker=sys.argv[3],
)))
"""


class Learner:
    """A learner process; ``lines`` is what it has said so far."""

    def __init__(self, run: Path, *, tracker: str = "none", **stop):
        self.run = run
        environment = {**os.environ, "TANDEM_TOKEN": TOKEN, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LEARNER, str(run), repr(stop), tracker],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        self.lines: list[str] = []
        for line in self.process.stdout:
            self.lines.append(line)
            if " listens on " in line:
                self.address = line.split()[-1]
                break
        else:
            pytest.fail("the learner did not start:\n" + "".join(self.lines))
        self._reader = threading.Thread(target=self.lines.extend, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def end(self, number: int = signal.SIGINT, timeout_s: float = 60.0) -> int:
        """Sends the signal and returns the exit code."""
        self.process.send_signal(number)
        return self.code(timeout_s)

    def code(self, timeout_s: float = 60.0) -> int:
        code = self.process.wait(timeout_s)
        self._reader.join(5)
        return code

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()


def logged_steps(run: Path) -> list[tuple[str, int]]:
    entries = (entry.record for _, entry in read_log(run / "log"))
    return [(r.step.episode_id, r.step.index) for r in entries if r.WhichOneof("body") == "step"]
