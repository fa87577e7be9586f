"""What ends training, and which checkpoint is the best of it."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from episodes.outcome import Purpose
from learner.config import EvaluationConfig, StopConfig
from learner.evaluator import ask_evaluation
from metrics import names
from metrics.history import read_history
from policies.snapshot import load_snapshot
from tests.learner.training_run import AUTONOMOUS, CONFIG, Arm, assert_equal, opened, started, update


def test_the_caps_end_training_and_say_whether_that_was_success(tmp_path):
    evaluation = EvaluationConfig(every_env_steps=1000)
    stop = StopConfig(when_autonomous=True, max_env_steps=30)
    with started(tmp_path, dataclasses.replace(CONFIG, stop=stop, evaluation=evaluation)) as (run, arm):
        arm.episode(30)
        arm.flush()
        ending = run.trainer.run()
        assert (ending.reason, ending.exit_code) == ("stop.max_env_steps=30 reached", 3)


@pytest.mark.parametrize(
    ("stop", "outcome"),
    [
        (StopConfig(when_autonomous=True), "diverged"),
        (StopConfig(max_env_steps=9), "diverged"),
        (StopConfig(max_time_s=9.0), "diverged"),
        (StopConfig(), None),
    ],
)
def test_a_run_that_diverged_ends_where_it_is_to_end_by_itself(tmp_path, stop, outcome):
    with opened(tmp_path, dataclasses.replace(CONFIG, evaluation=EvaluationConfig(), stop=stop)) as run:
        run.trainer.diverged = "the losses are not finite"
        ending = run.trainer.stop_rule.check(run.trainer)
        assert (ending and ending.outcome) == outcome


def test_a_good_policy_ends_training_and_the_best_checkpoint_holds_what_was_evaluated(tmp_path):
    config = dataclasses.replace(
        CONFIG,
        stop=StopConfig(when_autonomous=True),
        evaluation=EvaluationConfig(every_env_steps=20, episodes=3, in_a_row=2),
        keep_checkpoints=1,
    )
    with started(tmp_path, config) as (run, arm):
        run.ingest.connected("arm", 1)
        arm.episode(20)
        for evaluation in range(2):
            arm.episode(20)
            arm.flush()
            ask_evaluation(run.trainer, run.ingest.spools())
            pending = run.trainer.schedule.pending
            assert pending is not None
            request = run.publisher.newer("arm", 10_000, evaluation)
            assert request is not None
            assert request.payload == pending.payload
            for _ in range(3):
                arm.episode(5, purpose=Purpose.EVALUATION, evaluation_id=request.evaluation_id)
            arm.flush()
            update(run.trainer, 5)
            run.trainer.save()
        ending = run.trainer.run()
        assert (ending.outcome, ending.exit_code) == ("autonomous", 0)
        assert run.trainer.metrics.env_steps == 60, "evaluation steps are not training steps"
        best = json.loads((run.folder.checkpoints / "best.json").read_text())
        assert best["success_rate"] == 1.0
        first = run.trainer.schedule.results[0]
        assert best["checkpoint"] == first.checkpoint
        run.trainer.writer.flush(5)
        stored = (run.folder.checkpoints / best["checkpoint"] / "policy.safetensors").read_bytes()
        assert load_snapshot(stored)[1] == first.version
    history = read_history(run.folder.metrics)
    assert history.last(names.EVAL_SUCCESS_RATE) == 1.0
    assert history.last(names.EVAL_CYCLE_STEPS) == 5
    assert history.last(names.EVAL_RETURN) == 1.0


def test_the_best_is_one_of_the_evaluations_that_ended_training(tmp_path):
    with started(tmp_path, AUTONOMOUS) as (run, arm):
        run.ingest.connected("arm", 1)
        arm.episode(20)
        found = [run.evaluate(arm, successes=n, episodes=4, steps=s) for n, s in ((4, 9), (1, 5), (3, 4), (3, 6))]
        assert run.trainer.schedule.best == found[0]
        run.trainer.writer.flush(5)
        assert run.trainer.run().outcome == "autonomous"
        assert run.trainer.schedule.best == found[2]
        run.trainer.save()
        run.trainer.writer.flush(5)
        best = json.loads((run.folder.checkpoints / "best.json").read_text())
        assert best["checkpoint"] == found[2].checkpoint
        assert (run.folder.checkpoints / best["checkpoint"] / "policy.safetensors").is_file()


@pytest.mark.parametrize(
    ("human", "operator_steps", "outcome"),
    [(0, 9, "autonomous"), (5, 9, "cap"), (0, 4, "cap")],
    ids=["on its own", "with a person's help", "slower than the operator"],
)
def test_a_policy_that_is_helped_or_slow_does_not_end_training(tmp_path, human, operator_steps, outcome):
    with opened(tmp_path, AUTONOMOUS) as run:
        arm = Arm(run)
        arm.episode(operator_steps, human=range(operator_steps), purpose=Purpose.DEMONSTRATION)
        arm.flush()
    with started(tmp_path, AUTONOMOUS) as (run, arm):
        run.ingest.connected("arm", 1)
        arm.episode(20, human=range(human))
        for _ in range(2):
            run.evaluate(arm, successes=4, episodes=4, steps=5)
        assert run.trainer.run().outcome == outcome


def test_what_is_evaluated_and_kept_is_the_moving_average(tmp_path):
    with started(tmp_path, AUTONOMOUS) as (run, arm):
        run.ingest.connected("arm", 1)
        arm.episode(20)
        arm.episode(20)
        arm.flush()
        update(run.trainer, 30)
        ask_evaluation(run.trainer, run.ingest.spools())
        pending, algorithm = run.trainer.schedule.pending, run.trainer.algorithm
        assert pending is not None
        average = algorithm.ema_policy.state_dict()
        assert any(not torch.equal(average[k], v) for k, v in algorithm.policy.state_dict().items())
        assert_equal(load_snapshot(pending.payload)[2].state_dict(), average)
        run.trainer.writer.flush(5)
        stored = run.folder.checkpoints / pending.checkpoint / "policy.safetensors"
        assert_equal(load_snapshot(stored.read_bytes())[2].state_dict(), average)
