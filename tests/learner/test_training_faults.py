"""Training through a full disk and through losses that are not finite."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import resource
from collections.abc import Iterator

import pytest
import torch

from learner.checkpoint import CheckpointError
from learner.config import EvaluationConfig, StopConfig
from learner.console import Console
from learner.evaluator import ask_evaluation
from learner.startup import prepare
from learner.stop_rule import Ending
from metrics import names
from tests.learner.training_run import CONFIG, Arm, opened, started, update
from transport import records_pb2 as pb


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process takes another byte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_and_training_goes_on_and_catches_up(tmp_path, capsys):
    with opened(tmp_path) as run:
        trainer = run.trainer
        prepare(trainer, run.log)
        arm = Arm(run)
        arm.episode(40)
        arm.flush()
        trainer.progress.report(trainer, force=True)
        lines = len(run.folder.metrics.read_text().splitlines())
        version, trainer.versions._reserved = trainer.version, 0
        with full_disk():
            update(trainer, 10)
            assert trainer.version == version
            assert f"policy version {version + 1} is not published" in trainer.fault
            trainer.progress.report(trainer, force=True)
            assert f"metrics are not written to {run.folder.metrics}" in trainer.reporter.fault
            assert trainer.reporter.newest[names.CRITIC_LOSS] > 0
            trainer.save()
            with pytest.raises(CheckpointError, match="a checkpoint could not be written"):
                trainer.writer.flush(5)
        assert "is not published, its number could not be noted: [Errno 27]" in capsys.readouterr().out
        assert trainer.publish() == version + 1
        update(trainer, 5)
        trainer.progress.report(trainer, force=True)
        trainer.save()
        trainer.writer.flush(5)
        assert trainer.fault == ""
        written = [json.loads(line) for line in run.folder.metrics.read_text().splitlines()]
        assert len(written) == lines + 1


def test_the_loop_publishes_as_soon_as_the_disk_takes_the_number(tmp_path, monkeypatch):
    with opened(tmp_path, dataclasses.replace(CONFIG, learning=False, stop=StopConfig(max_time_s=60.0))) as run:
        trainer = run.trainer
        prepare(trainer, run.log)
        arm, check = Arm(run), trainer.stop_rule.check
        published = Ending("published", "cap", 0)
        monkeypatch.setattr(trainer.stop_rule, "check", lambda t: published if t.version == 1 else check(t))
        with contextlib.ExitStack() as disk:
            for entry in _logged(arm):
                trainer.take(entry)
            disk.enter_context(full_disk())
            trainer.begin_learning()
            assert trainer.version == 0
        trainer._first_step_s = trainer._checkpoint_s
        assert trainer.run() is published


def test_the_progress_line_says_what_is_waited_for_where_updates_stand(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("learner.console.LINE_EVERY_S", 0.0)
    monkeypatch.setattr("learner.progress.STANDS_S", 0.0)
    with started(tmp_path) as (run, arm):
        trainer = run.trainer
        trainer.console = Console()

        def line() -> str:
            trainer.progress.report(trainer, force=True)
            return capsys.readouterr().out.splitlines()[-1]

        run.ingest.connected("arm", 1)
        arm.episode(40)
        arm.flush()
        assert line().endswith("actors: arm-arm"), "updates are due"
        while trainer.update():
            assert "waiting" not in line()
        assert "updates/s 0 |" in (waiting := line())
        assert waiting.endswith("actors: arm-arm | waiting for the actors' steps")
        with full_disk():
            trainer.reporter.write({names.CRITIC_LOSS: 1.0}, time_s=1.0, env_steps=40, updates=40)
        fault = f"metrics are not written to {run.folder.metrics}: [Errno 27] File too large"
        assert line() == fault, "said once"
        assert line().endswith(f"actors: arm-arm | {fault}"), "and shown for as long as it lasts"
        arm.episode(10)
        arm.flush()
        assert "not written" not in line(), "updates are due again"


def _logged(arm: Arm) -> list[pb.LogEntry]:
    arm.episode(20)
    ingest = arm.run.ingest
    while ingest.progress("arm").sequence < arm.sequence:
        pass
    return ingest.drain()


def test_divergence_is_said_once_and_nothing_of_it_is_published_or_saved(tmp_path, capsys):
    config = dataclasses.replace(CONFIG, evaluation=EvaluationConfig(every_env_steps=20))
    with opened(tmp_path, config) as run:
        trainer = run.trainer
        prepare(trainer, run.log)
        arm = Arm(run)
        for _ in range(3):
            arm.episode(20)
        arm.flush()
        update(trainer, 8)
        trainer.progress.report(trainer, force=True)
        trainer.save()
        good, version = trainer.last_checkpoint, trainer.version
        assert trainer.reporter.newest[names.CRITIC_LOSS] > 0
        with torch.no_grad():
            trainer.algorithm.policy.head.bias.fill_(math.nan)
        update(trainer, 1)
        trainer.progress.report(trainer, force=True)
        updates = trainer.algorithm.updates
        assert trainer.update() == 0
        assert trainer.algorithm.updates == updates
        trainer.progress.report(trainer, force=True)
        assert trainer.save() is None
        assert trainer.publish() == version == trainer.version
        assert names.CRITIC_LOSS not in trainer.reporter.newest
        out = capsys.readouterr().out
        assert out.count("the losses are not finite since update 9 (") == 1
        assert "NaN or infinity in policy.layers.0.weight" in out
        again = f"tandem learner run={tmp_path} algorithm.critic_lr=0.0001 algorithm.actor_lr=0.0001\n"
        assert f"checkpoint is {good}. To go on from there with lower learning rates: {again}" in out
        assert trainer.fault == trainer.diverged != ""
        run.ingest.connected("arm", 1)
        ask_evaluation(trainer, run.ingest.spools())
        assert trainer.schedule.pending is None
    with opened(tmp_path) as resumed:
        prepare(resumed.trainer, resumed.log)
        assert resumed.trainer.algorithm.updates == 8


def test_weights_that_are_not_finite_are_found_before_the_losses_are(tmp_path, capsys):
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
        with torch.no_grad():
            run.trainer.algorithm.policy.head.bias[0] = math.inf
        assert run.trainer.publish() == 0
        assert "NaN or infinity in 'head.bias'" in run.trainer.fault
