"""A run that goes on from its checkpoint and its log: exact or refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from learner.checkpoint import CheckpointError
from learner.startup import prepare
from tests.learner.training_run import AUTONOMOUS, CONFIG, Arm, assert_equal, opened, started, tensors, update


@pytest.mark.parametrize("prefetch", ["off", "on"])
def test_resumed_updates_are_bit_identical_to_uninterrupted_ones(tmp_path, prefetch):
    config = dataclasses.replace(CONFIG, prefetch=prefetch)
    with started(tmp_path, config) as (run, arm):
        for i in range(8):
            arm.episode(10, human=range(3, 6) if i % 2 else ())
        arm.flush()
        update(run.trainer, 23)
        run.trainer.save()
        update(run.trainer, 40)
        expected, limiter = tensors(run.trainer), run.trainer.limiter.state()
        batch = run.trainer.replay.sample(16)
    with opened(tmp_path, config) as resumed:
        prepare(resumed.trainer, resumed.log)
        assert resumed.trainer.algorithm.updates == 23
        update(resumed.trainer, 40)
        assert_equal(tensors(resumed.trainer), expected)
        assert resumed.trainer.limiter.state() == limiter
        np.testing.assert_array_equal(resumed.trainer.replay.sample(16).action, batch.action)


@pytest.mark.parametrize("prefetch", ["off", "on"])
def test_what_came_after_the_checkpoint_is_new_data(tmp_path, prefetch):
    config = dataclasses.replace(CONFIG, prefetch=prefetch)
    with started(tmp_path, config) as (run, arm):
        for _ in range(4):
            arm.episode()
        arm.flush()
        update(run.trainer, 10)
        run.trainer.save()
        arm.episode()
        arm.flush()
        due = run.trainer.limiter.due()
        update(run.trainer, 30)
        expected = tensors(run.trainer)
    with opened(tmp_path, config) as resumed:
        prepare(resumed.trainer, resumed.log)
        assert resumed.trainer.metrics.env_steps == 50
        assert resumed.trainer.limiter.due() == due
        update(resumed.trainer, 30)
        assert_equal(tensors(resumed.trainer), expected)


def test_a_resumed_run_publishes_versions_that_nobody_has_seen(tmp_path):
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
        assert run.trainer.version == 0
        arm = Arm(run)
        arm.episode(20)
        arm.episode(20)
        arm.flush()
        update(run.trainer, 40)
        seen = run.trainer.version
        assert seen == 5
    with opened(tmp_path) as resumed:
        prepare(resumed.trainer, resumed.log)
        assert resumed.trainer.version > seen


def test_a_resumed_run_goes_on_with_its_evaluations_best_and_time(tmp_path):
    with started(tmp_path, AUTONOMOUS) as (run, arm):
        run.ingest.connected("arm", 1)
        arm.episode(20)
        first = run.evaluate(arm, successes=4, episodes=4)
        second = run.evaluate(arm, successes=2, episodes=4)
        run.trainer.elapsed_before_s = 100.0
        third = run.evaluate(arm, successes=4, episodes=4, steps=3)  # saved as it is asked for, killed after it
    with opened(tmp_path, AUTONOMOUS) as resumed:
        prepare(resumed.trainer, resumed.log)
        assert resumed.trainer.schedule.results == [first, second]
        assert resumed.trainer.schedule.best == third
        assert not resumed.trainer.schedule.due(79)
        assert resumed.trainer.elapsed_s >= 100.0


def test_the_time_after_the_last_checkpoint_counts_too(tmp_path):
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
        run.trainer.reporter.write({}, time_s=250.0, env_steps=0, updates=0)
    with opened(tmp_path) as resumed:
        prepare(resumed.trainer, resumed.log)
        assert resumed.trainer.elapsed_s == 250.0
        resumed.trainer.elapsed_before_s = 300.0
        resumed.trainer.save()
    with opened(tmp_path) as again:
        prepare(again.trainer, again.log)
        assert again.trainer.elapsed_s == 300.0


def test_a_checkpoint_that_does_not_fit_is_refused_and_nothing_falls_back(tmp_path):
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
    other = dataclasses.replace(CONFIG, algorithm=dataclasses.replace(CONFIG.algorithm, hidden=(8, 8)))
    with opened(tmp_path, other) as run, pytest.raises(CheckpointError, match=r"does not fit these settings.*Go back"):
        prepare(run.trainer, run.log)


def test_a_log_that_was_cut_behind_a_checkpoint_is_refused(tmp_path):
    with started(tmp_path) as (run, arm):
        arm.episode(10)
        arm.flush()
        run.trainer.save()
    segment = next((tmp_path / "log").glob("segment-*.log"))
    with open(segment, "r+b") as file:
        file.truncate(segment.stat().st_size - 40)
    with opened(tmp_path) as run, pytest.raises(CheckpointError, match=r"needs the log up to offset .* ends at"):
        prepare(run.trainer, run.log)
