"""A learner process whose losses are no longer finite."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from learner.checkpoint import load_checkpoint, newest_checkpoint
from policies.snapshot import check_finite
from tests.learner import learner_process
from tests.learner.learner_process import LEARNER, Learner, logged_steps


@pytest.fixture
def begin(tmp_path, monkeypatch) -> Iterator[Callable[..., Learner]]:
    """Starts learners of an absurd step size; what is left of them ends with the test."""
    learners: list[Learner] = []

    def start(step: float = 1e38, **stop) -> Learner:
        absurd = f"SACConfig(critic_lr={step}, actor_lr={step}, "
        monkeypatch.setattr(learner_process, "LEARNER", LEARNER.replace("SACConfig(", absurd))
        learners.append(Learner(tmp_path / "run", **stop))
        return learners[-1]

    yield start
    for learner in learners:
        learner.close()


def test_a_run_whose_losses_are_not_finite_keeps_its_last_good_policy_until_it_is_stopped(begin, join):
    learner = begin()
    actor = join(learner)
    actor.episode(steps=25)
    actor.wait(lambda: bool(actor.status().fault))
    versions = list(actor.versions)
    fault = actor.status().fault
    assert fault.startswith("the losses are not finite since update ")
    assert "; NaN or infinity in policy." in fault
    actor.episode(steps=15)
    actor.wait(lambda: actor.acknowledged == actor.sequence)
    assert learner.end() == 130, learner.text
    assert actor.versions == versions, "nothing is published any more"
    checkpoint = newest_checkpoint(learner.run / "checkpoints")
    assert checkpoint is not None
    assert f"The newest good checkpoint is {checkpoint.name}" in learner.text
    check_finite("the newest checkpoint", load_checkpoint(checkpoint).tensors)
    assert json.loads((learner.run / "training.json").read_text())["diverged"] == fault
    assert "Everything is saved" not in learner.text
    assert len(logged_steps(learner.run)) == actor.steps


def test_a_run_that_is_to_end_by_itself_ends_where_its_losses_are_not_finite_and_goes_on_with_others(begin, join):
    learner = begin(max_env_steps=100_000)
    actor = join(learner)
    actor.episode(steps=25)
    actor.wait(lambda: bool(actor.finished))
    assert learner.code() == 1, learner.text
    assert "To go on from there with lower learning rates: tandem learner run=" in learner.text
    assert json.loads((learner.run / "training.json").read_text())["outcome"] == "diverged"
    actor.close()

    learner = begin(step=1e-3, max_env_steps=60)
    actor = join(learner)
    actor.episode(steps=60)
    actor.wait(lambda: bool(actor.finished))
    assert learner.code() == 0, learner.text
    assert json.loads((learner.run / "training.json").read_text())["updates"] > 0
