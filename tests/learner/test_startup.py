"""The policy that a run starts from: version 0, cloned, given or plain, and its statistics."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from cli.status import print_table
from episodes.outcome import Purpose
from learner.checkpoint import CheckpointError, newest_checkpoint
from learner.config import ConfigError, PolicyConfig
from learner.console import Console, phase_of
from learner.finish import finish
from learner.service import LearnerServer
from learner.startup import StartInterruptedError, prepare
from learner.status import status_message
from learner.stop_rule import Ending
from metrics import names
from policies.snapshot import load_snapshot
from tests.learner.training_run import CONFIG, Arm, assert_equal, opened, started, update


def test_statistics_come_with_version_1_where_there_are_no_demonstrations_and_stay(tmp_path):
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
        assert not bool(run.policy()[2].normalizer.frozen)
        arm = Arm(run)
        arm.episode(20)
        arm.flush()
        _, version, policy = run.policy()
        assert version == 1
        assert bool(policy.normalizer.frozen)
        mean = policy.normalizer.mean.clone()
        arm.episode(20)
        arm.flush()
        update(run.trainer, 10)
        _, version, policy = run.policy()
        assert version == 2
        assert torch.equal(policy.normalizer.mean, mean)


def test_people_before_learning_are_cloned_into_version_0(tmp_path):
    with opened(tmp_path) as run:
        Arm(run).episode(30, human=range(30), purpose=Purpose.DEMONSTRATION)
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
        _, version, policy = run.policy()
        assert version == 0
        assert bool(policy.normalizer.frozen)
        assert run.trainer.algorithm.clones == 5
        assert run.trainer.limiter.env_steps == 0
        assert run.trainer.limiter.due() == 0
        line = json.loads(run.folder.metrics.read_text())
        assert line[names.CLONING_LOSS] != 0
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
        assert run.trainer.algorithm.clones == 5, "a resumed run must not clone again"
        assert run.policy()[1] == 0
        assert run.folder.policy_file(0).is_file()


def stopped(run) -> None:
    """Ends a learner that was stopped before it was ready."""
    finish(
        run.trainer, Ending("stopped", "interrupted", 130), cast(LearnerServer, SimpleNamespace(stop=lambda _: None))
    )


def test_a_start_interrupted_while_cloning_clones_anew_when_the_run_goes_on(tmp_path, monkeypatch, capsys):
    with opened(tmp_path) as run:
        Arm(run).episode(30, human=range(30), purpose=Purpose.DEMONSTRATION)
    with opened(tmp_path) as run:
        trainer, clone = run.trainer, run.trainer.algorithm.clone

        def clone_and_stop(batch):
            trainer.stop = True
            return clone(batch)

        monkeypatch.setattr(trainer.algorithm, "clone", clone_and_stop)
        with pytest.raises(StartInterruptedError):
            prepare(trainer, run.log)
        assert trainer.algorithm.clones == 1
        capsys.readouterr()
        stopped(run)
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "stopping", "no checkpoint is written"
        assert said[-1] == f"The cloning will be made anew. Go on with: tandem learner run={tmp_path}"
        assert newest_checkpoint(run.folder.checkpoints) is None, "it would pass for a policy that was cloned"
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
        assert run.trainer.algorithm.clones == 5


def test_a_start_interrupted_while_replay_is_rebuilt_leaves_the_checkpoint_the_newest(tmp_path, capsys):
    with started(tmp_path) as (run, arm):
        arm.episode(40)
        arm.flush()
        update(run.trainer, 10)
        run.trainer.save()
        run.trainer.writer.flush(10.0)
        newest = newest_checkpoint(run.folder.checkpoints)
        run.trainer.progress.report(run.trainer, force=True)
    history = (tmp_path / "metrics.jsonl").read_text()
    assert history
    (tmp_path / "training.json").write_text("of before")
    with opened(tmp_path) as run:
        run.trainer.stop = True
        with pytest.raises(StartInterruptedError):
            prepare(run.trainer, run.log)
        stopped(run)
        assert "Nothing was changed. Go on with: tandem learner run=" in capsys.readouterr().out
        assert newest_checkpoint(run.folder.checkpoints) == newest, "its networks are untrained"
        assert (tmp_path / "training.json").read_text() == "of before"
    assert (tmp_path / "metrics.jsonl").read_text() == history
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
        assert run.trainer.algorithm.updates == 10
        assert newest_checkpoint(run.folder.checkpoints) == newest


def test_how_far_cloning_is_stands_in_the_learners_lines_and_in_its_status(tmp_path, capsys):
    with opened(tmp_path) as run:
        Arm(run).episode(30, human=range(30), purpose=Purpose.DEMONSTRATION)
    seen = []

    class Watched(Console):
        def due(self, now_s=None):
            seen.append(status_message(run.trainer))
            return super().due(now_s)

    with opened(tmp_path) as run:
        run.trainer.console = Watched()
        prepare(run.trainer, run.log)
        assert phase_of(status_message(run.trainer)) == "waiting"
    assert list(dict.fromkeys(map(phase_of, seen))) == [f"cloning ({done} of 5 updates)" for done in range(5)]
    assert "cloning (0 of 5 updates) 0 s | 0 steps" in capsys.readouterr().out
    print_table(seen[-1], "here")
    assert "cloning (4 of 5 updates)" in capsys.readouterr().out


def test_cloning_that_diverges_ends_the_start_and_names_the_tensors(tmp_path):
    with opened(tmp_path) as run:
        Arm(run).episode(30, human=range(30), purpose=Purpose.DEMONSTRATION)
    algorithm = dataclasses.replace(CONFIG.algorithm, actor_lr=1e38)
    with opened(tmp_path, dataclasses.replace(CONFIG, algorithm=algorithm)) as run:
        with pytest.raises(ConfigError) as error:
            prepare(run.trainer, run.log)
        assert run.publisher.newer("", 0, 0) is None
        assert newest_checkpoint(run.folder.checkpoints) is None
    text = str(error.value)
    assert text.startswith(
        "cloning 30 transitions diverged within 5 updates: the losses are not finite (cloning_loss; NaN or infinity"
    )
    assert "infinity in policy." in text
    assert text.endswith(f"tandem learner run={tmp_path} algorithm.critic_lr=0.0001 algorithm.actor_lr=3e+37")
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
        assert run.policy()[1] == 0, "nothing was lost"


def test_a_given_policy_starts_a_run_and_is_not_cloned_over(tmp_path):
    with started(tmp_path / "first") as (run, arm):
        arm.episode(40)
        arm.flush()
        update(run.trainer, 30)
        run.trainer.save()
    given = newest_checkpoint(tmp_path / "first" / "checkpoints")
    assert given is not None
    config = dataclasses.replace(CONFIG, policy=PolicyConfig(pretrained=str(given)))
    with opened(tmp_path / "second", config) as run:
        prepare(run.trainer, run.log)
        ours = run.policy()[2].state_dict()
        theirs = load_snapshot((given / "policy.safetensors").read_bytes())[2].state_dict()
        assert_equal(ours, theirs)
        assert run.trainer.algorithm.warmup_until == 4
    config = dataclasses.replace(CONFIG, policy=PolicyConfig(pretrained=str(tmp_path / "nothing")))
    with (
        opened(tmp_path / "third", config) as run,
        pytest.raises(CheckpointError, match=r"policy\.pretrained=.*nothing is neither a policy file nor a checkpoint"),
    ):
        prepare(run.trainer, run.log)


def test_the_learner_goes_on_without_the_file_of_version_0(tmp_path, capsys):
    with opened(tmp_path) as run:
        run.folder.policy_file(0).mkdir(parents=True)
        prepare(run.trainer, run.log)
        assert run.trainer.version == 0
    assert "policy version 0 was not written" in capsys.readouterr().out
