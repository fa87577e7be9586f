"""Learners of two ranks that torchrun starts, with a real actor."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from episodes.log import read_log
from learner.checkpoint import load_checkpoint, newest_checkpoint
from tests.long.programs import free_port

SETTINGS = [
    "learner.device=cpu",
    "learner.checkpoint_every_s=1",
    "warmup_steps=20",
    "algorithm.batch_size=16",
    "algorithm.hidden=[16,16]",
    "algorithm.utd_ratio=1",
    "evaluation.every_env_steps=0",
    "replay.capacity_gb=0.01",
    "tracker=none",
]


class Torchrun:
    """`tandem learner` of two ranks, as torchrun starts them."""

    def __init__(self, run: Path, *arguments: str):
        self.run = run
        self.file = run.parent / "learner.txt"
        self.port = free_port()
        environment = {**os.environ, "TANDEM_TOKEN": "token-of-the-tests-0123456789", "OMP_NUM_THREADS": "1"}
        scripts = Path(sys.executable).parent
        command = [scripts / "torchrun", "--nproc-per-node", "2", "--master-port", str(free_port()), "--no-python"]
        command += [scripts / "tandem", "learner", "env=gym"]
        with self.file.open("w") as file:
            self.process = subprocess.Popen(
                [*command, *SETTINGS, f"run={run}", f"learner.address=127.0.0.1:{self.port}", *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=run.parent,
            )
        self.environment = environment

    @property
    def text(self) -> str:
        return self.file.read_text()

    def ranks(self) -> dict[int, int]:
        """Process ids of the ranks."""
        found = {}
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            rank = re.search(rb"\0RANK=(\d+)\0", Path(f"/proc/{child}/environ").read_bytes())
            if rank:
                found[int(rank[1])] = int(child)
        return found

    def wait(self, condition: Callable[[], bool], timeout_s: float = 200.0) -> None:
        until_s = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < until_s, self.text
            time.sleep(0.1)

    def updates(self) -> int:
        path = newest_checkpoint(self.run / "checkpoints")
        return 0 if path is None else load_checkpoint(path).state["updates"]

    def close(self) -> None:
        if self.process.poll() is None:
            for process in self.ranks().values():
                os.kill(process, signal.SIGKILL)
            self.process.kill()
        self.process.wait()


@pytest.fixture
def torchrun(tmp_path) -> Iterator[Callable[..., Torchrun]]:
    started: list[Torchrun] = []
    actors: list[subprocess.Popen] = []

    def begin(*arguments: str) -> Torchrun:
        started.append(Torchrun(tmp_path / "run", *arguments))
        learner = started[-1]
        learner.wait(lambda: "listens on" in learner.text)
        actor = [Path(sys.executable).parent / "tandem", "actor", f"learner.address=127.0.0.1:{learner.port}"]
        actors.append(
            subprocess.Popen(
                [*actor, f"actor.spool={tmp_path / 'spool'}"],
                env=learner.environment,
                cwd=tmp_path,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        return learner

    yield begin
    for actor in actors:
        actor.send_signal(signal.SIGINT)
        try:
            actor.wait(20)
        except subprocess.TimeoutExpired:
            actor.kill()
            actor.wait()
    for learner in started:
        learner.close()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the ranks in /proc")
def test_a_learner_of_two_ranks_trains_with_a_real_actor_and_ends_by_itself(torchrun):
    learner = torchrun("stop.max_env_steps=150")
    learner.process.wait(300)
    assert learner.process.returncode == 0, learner.text
    summary = json.loads((learner.run / "training.json").read_text())
    assert summary["env_steps"] >= 150
    assert summary["updates"] >= 80
    assert learner.text.count("listens on") == 1
    assert learner.updates() == summary["updates"]
    steps = [e.record.step for _, e in read_log(learner.run / "log") if e.record.WhichOneof("body") == "step"]
    assert len(steps) == summary["env_steps"]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the ranks in /proc")
def test_a_killed_rank_ends_the_learner_with_one_message_and_the_run_resumes(torchrun):
    learner = torchrun()
    learner.wait(lambda: learner.updates() > 0)
    os.kill(learner.ranks()[1], signal.SIGKILL)
    learner.process.wait(60)
    assert learner.process.returncode
    assert learner.text.count("tandem: ") == 1, learner.text
    assert "tandem: rank 1 of this learner ended, killed or crashed." in learner.text
    before = learner.updates()
    resumed = torchrun()
    resumed.wait(lambda: resumed.updates() > before)
    resumed.process.send_signal(signal.SIGINT)
    resumed.process.wait(60)
    assert "Everything is saved. Go on with" in resumed.text
