"""A learner process whose GPU is full: torch's error is raised where an allocation would be, in building, cloning, the
first update or the last checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from learner.checkpoint import newest_checkpoint
from tests.learner import learner_process
from tests.learner.learner_process import LEARNER, Learner, logged_steps

FULL = """
import pathlib, sys, torch
from learner.algorithms.sac import SAC

def limited(name):
    real = getattr(SAC, name)
    def call(*arguments, **settings):
        if pathlib.Path(sys.argv[1] + ".full").exists():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity")
        return real(*arguments, **settings)
    setattr(SAC, name, call)

limited("{call}")
sys.excepthook = lambda kind, error, trace: print(f"tandem: {error}")
"""
SAID = "the GPU ran out of memory (Tried to allocate 2.00 GiB): lower algorithm.batch_size (now 16), or keep the images"


@pytest.fixture
def begin(tmp_path, monkeypatch) -> Iterator[Callable[..., Learner]]:
    """Starts a learner whose named call has no memory while RUN.full is there; ``batch`` is its batch size."""
    learners: list[Learner] = []

    def start(call: str, batch: int = 16, checkpoint_every_s: float = 0.2) -> Learner:
        program = FULL.replace("{call}", call) + LEARNER.replace("batch_size=16", f"batch_size={batch}")
        program = program.replace("clone_updates=0", "clone_updates=3")
        program = program.replace("checkpoint_every_s=0.2", f"checkpoint_every_s={checkpoint_every_s}")
        monkeypatch.setattr(learner_process, "LEARNER", program)
        learners.append(Learner(tmp_path / "run"))
        return learners[-1]

    yield start
    for learner in learners:
        learner.close()


def fill(run: Path) -> Path:
    full = run.with_name(run.name + ".full")
    full.touch()
    return full


def wait_for(learner: Learner, said: str) -> str:
    until_s = time.monotonic() + 60
    while said not in learner.text:
        assert time.monotonic() < until_s, learner.text
        time.sleep(0.05)
    return learner.text


def check_said(learner: Learner, steps: int) -> None:
    """One message, and nothing lost."""
    assert learner.text.count("out of memory") == 1, learner.text
    assert SAID in learner.text
    assert f"`tandem learner run={learner.run} algorithm.batch_size=8` goes on from there" in learner.text
    assert len(logged_steps(learner.run)) == steps


def test_a_full_gpu_in_the_first_update_and_in_cloning_ends_the_run_which_resumes_with_smaller_batches(begin, join):
    learner = begin("update")
    full = fill(learner.run)
    actor = join(learner)
    actor.episode(steps=18, human=range(18))
    actor.episode(steps=5)
    assert learner.code() == 1
    check_said(learner, 23)
    actor.close()

    # Without its checkpoints the run begins by cloning what the person did.
    (learner.run / "checkpoints").rename(learner.run / "kept")
    cloning = begin("clone")
    assert cloning.code() == 1
    check_said(cloning, 23)
    (learner.run / "checkpoints").rmdir()
    (learner.run / "kept").rename(learner.run / "checkpoints")

    full.unlink()
    resumed = begin("update", batch=8)
    actor = join(resumed)
    actor.wait(lambda: actor.status().updates > 0)
    assert resumed.end() == 130, resumed.text
    assert "resuming from" in resumed.text
    assert "Everything is saved" in resumed.text


def test_a_full_gpu_in_the_last_checkpoint_is_said_and_the_run_goes_on_from_the_one_before(begin, join):
    learner = begin("state", checkpoint_every_s=1e9)
    actor = join(learner)
    for i in range(3):
        actor.episode(seed=i)
    actor.wait(lambda: actor.status().updates > 5)
    full = fill(learner.run)
    assert learner.end() == 1
    assert "the last checkpoint was not taken: " in learner.text
    check_said(learner, 30)
    assert "Everything is saved" not in learner.text
    full.unlink()
    kept = newest_checkpoint(learner.run / "checkpoints")
    assert kept is not None
    resumed = begin("state")
    assert f"resuming from {kept.name}" in wait_for(resumed, "resuming from")
    assert resumed.end() == 130, resumed.text


def test_a_full_gpu_before_there_is_anything_is_said_too(begin, tmp_path):
    full = fill(tmp_path / "run")
    learner = begin("__init__")
    assert learner.code() == 1
    check_said(learner, 0)
    full.unlink()
    again = begin("__init__")
    wait_for(again, "replay: room")
    assert again.end() == 130, again.text
