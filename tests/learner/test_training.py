"""The update loop on a real log, ingest, replay and algorithm; only the wire is left out (see test_main.py)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from episodes.acting import ActingSettings
from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from episodes.log import EpisodeLog
from episodes.outcome import Outcome, Purpose
from learner.algorithms import build_algorithm
from learner.algorithms.sac_config import SACConfig
from learner.checkpoint import CheckpointError, newest_checkpoint
from learner.config import EvaluationConfig, LearnerConfig, PolicyConfig, StopConfig
from learner.console import Console
from learner.evaluation import EvaluationResult
from learner.evaluator import ask_evaluation
from learner.ingest import Ingest
from learner.main import replay_buffer
from learner.publisher import PolicyPublisher
from learner.reporting import Reporter
from learner.run_folder import open_run_folder
from learner.startup import prepare
from learner.status import status_message
from learner.training import TRAINING, Trainer
from metrics import names
from metrics.history import read_history
from metrics.tracker import NoTracker
from policies.snapshot import load_snapshot
from transport import records_pb2 as pb

STATE = Feature("observation.state", "float32", (3,))
CONTRACT = Contract(
    Interface(
        "tests/training",
        (STATE,),
        Feature("action", "float32", (2,), low=(-1.0,), high=(1.0,)),
        reward=RewardBounds(True, 0.0, 1.0, True),
    ),
    View((FeatureView(STATE.name, stack=2),)),
)
CONFIG = LearnerConfig(
    env="tests",
    env_config=None,
    algorithm=SACConfig(batch_size=16, hidden=(16, 16), clone_updates=5, critic_warmup_updates=4, utd_ratio=2.0),
    acting=ActingSettings(warmup_steps=20, seed=3),
    evaluation=EvaluationConfig(every_env_steps=0),
    publish_every=10,
    checkpoint_every_s=1e9,
    console=False,
    device="cpu",
)


class Run:
    """One process of a run, without its service."""

    def __init__(self, path: Path, config: LearnerConfig = CONFIG):
        self.folder = open_run_folder(path, CONTRACT, env="tests", resume="auto", replay_bytes=1_000_000, settings={})
        self.log = EpisodeLog(
            self.folder.log,
            run_id=self.folder.run_id,
            interface_fingerprint=CONTRACT.interface_fingerprint,
            sync="os",
        )
        self.ingest = Ingest(self.log, CONTRACT)
        self.publisher = PolicyPublisher()
        self.trainer = Trainer(
            config,
            self.folder,
            ingest=self.ingest,
            publisher=self.publisher,
            algorithm=build_algorithm(CONTRACT, config.algorithm, device="cpu", seed=config.acting.seed),
            replay=replay_buffer(config, CONTRACT, self.folder.replay_bytes),
            reporter=Reporter(self.folder.metrics, NoTracker()),
            console=Console(False),
        )

    def evaluate(self, arm: Arm, *, successes: int, episodes: int, steps: int = 5) -> EvaluationResult:
        """Trains for 20 steps, has the evaluation asked for that is then due, and answers it."""
        arm.episode(20)
        arm.flush()
        ask_evaluation(self.trainer, self.ingest.spools())
        pending = self.trainer.schedule.pending
        assert pending is not None
        for i in range(episodes):
            outcome = Outcome.SUCCESS if i < successes else Outcome.TIMEOUT
            arm.episode(steps, outcome, purpose=Purpose.EVALUATION, evaluation_id=pending.evaluation_id)
        arm.flush()
        return self.trainer.schedule.results[-1]

    def close(self) -> None:
        self.trainer.batches.close()
        self.trainer.writer.close()
        self.trainer.reporter.close(1.0)
        self.ingest.close()
        self.log.close()

    def policy(self):
        published = self.publisher.newer("", 0, 0)
        assert published is not None
        return load_snapshot(published.payload)

    def credit(self, spool_id: str) -> int:
        return self.ingest.progress(spool_id).step_credit


@contextlib.contextmanager
def opened(path: Path, config: LearnerConfig = CONFIG) -> Iterator[Run]:
    run = Run(path, config)
    try:
        yield run
    finally:
        run.close()


class Arm:
    """Sends episodes of random numbers, the same for the same seed."""

    def __init__(self, run: Run, spool_id: str = "arm", seed: int = 0):
        self.run, self.spool_id = run, spool_id
        self.sequence = run.ingest.join(spool_id, f"arm-{spool_id}")
        self.rng = np.random.default_rng([seed, self.sequence])
        self.ids = 0

    def episode(
        self,
        steps: int = 10,
        outcome: Outcome = Outcome.SUCCESS,
        human=(),
        purpose: Purpose = Purpose.TRAINING,
        evaluation_id: int = 0,
    ) -> str:
        self.ids += 1
        episode_id = f"{int(self.rng.integers(1 << 60)):032x}"
        state = lambda: [self.rng.normal(size=3).astype(np.float32).tobytes()]  # noqa: E731
        start = pb.EpisodeStart(
            episode_id=episode_id, purpose=purpose, observation=state(), evaluation_id=evaluation_id
        )
        bodies = [{"start": start}]
        for i in range(steps):
            last = i == steps - 1
            action = self.rng.uniform(-1, 1, 2)
            step = pb.Step(
                episode_id=episode_id,
                index=i,
                proposed=action,
                chosen=action,
                sent=action,
                observation=state(),
                rewards=[pb.Reward(source="env", value=float(last and outcome is Outcome.SUCCESS))],
                terminated=last and outcome is Outcome.SUCCESS,
                truncated=last and outcome is not Outcome.SUCCESS,
                human=i in human,
            )
            bodies.append({"step": step})
        bodies.append({"end": pb.EpisodeEnd(episode_id=episode_id, outcome=outcome, author="env", steps=steps)})
        records = []
        for body in bodies:
            self.sequence += 1
            records.append(pb.Record(sequence=self.sequence, **body))
        self.run.ingest.accept(self.spool_id, [record.SerializeToString() for record in records])
        return episode_id

    def flush(self) -> None:
        """Until all that was sent is in the log and taken by the trainer."""
        trainer = self.run.trainer
        while self.run.ingest.progress(self.spool_id).sequence < self.sequence or trainer.drain():
            pass


def update(trainer: Trainer, count: int) -> None:
    for _ in range(count):
        assert trainer.update(1, 1e9) == 1


def tensors(trainer: Trainer) -> dict[str, torch.Tensor]:
    return trainer.algorithm.state()[0]


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert different == []


@pytest.mark.parametrize("prefetch", ["off", "on"])
def test_resumed_updates_are_bit_identical_to_uninterrupted_ones(tmp_path, prefetch):
    config = dataclasses.replace(CONFIG, prefetch=prefetch)
    with opened(tmp_path, config) as run:
        prepare(run.trainer, run.log)
        arm = Arm(run)
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
    with opened(tmp_path, config) as run:
        prepare(run.trainer, run.log)
        arm = Arm(run)
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


def test_the_ratio_counts_from_the_very_step_the_warm_up_ends(tmp_path):
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
        arm = Arm(run)
        for _ in range(5):
            arm.episode(10)
        arm.flush()
        assert run.trainer.limiter.started_at == 20
        assert run.trainer.limiter.due() == 60
        assert run.trainer.phase == TRAINING
        assert sum(run.trainer.update() for _ in range(200)) == 60
        assert run.trainer.version == 1 + 60 // 10


def test_an_amendment_reaches_replay_and_metrics(tmp_path):
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
        arm = Arm(run)
        episode = arm.episode(10, Outcome.SUCCESS)
        run.ingest.amend(pb.Amendment(episode_id=episode, author="person", outcome=Outcome.DISCARDED)).result(5)
        arm.flush()
        assert run.trainer.replay.online_size == 0
        assert names.SUCCESS_RATE not in run.trainer.metrics.metrics()
        assert run.trainer.metrics.env_steps == 10


def test_how_long_versions_take_to_act_is_reported_and_in_the_status(tmp_path):
    with opened(tmp_path / "run") as run:
        lag = run.publisher.lag
        for version in (0, 1):
            lag.published(version)
            lag.acted("arm", version)
        run.trainer.progress.report(run.trainer, force=True)
        for name in (names.PUBLISH_TO_ACTING_MS_P50, names.PUBLISH_TO_ACTING_MS_P99):
            assert status_message(run.trainer).metrics[name] > 0


def test_learning_off_updates_nothing_and_holds_nobody(tmp_path):
    config = dataclasses.replace(CONFIG, learning=False, stop=StopConfig(max_env_steps=40))
    with opened(tmp_path, config) as run:
        prepare(run.trainer, run.log)
        arm = Arm(run)
        for _ in range(4):
            arm.episode(10)
        arm.flush()
        before = tensors(run.trainer)
        ending = run.trainer.run()
        assert (ending.outcome, ending.exit_code) == ("cap", 0)
        assert run.trainer.algorithm.updates == 0
        assert_equal(tensors(run.trainer), before)
        assert run.credit("arm") > 1 << 60
        assert run.trainer.version == 1, "the actors' warm-up ends all the same"


def test_the_caps_end_training_and_say_whether_that_was_success(tmp_path):
    evaluation = EvaluationConfig(every_env_steps=1000)
    stop = StopConfig(when_autonomous=True, max_env_steps=30)
    with opened(tmp_path, dataclasses.replace(CONFIG, stop=stop, evaluation=evaluation)) as run:
        prepare(run.trainer, run.log)
        arm = Arm(run)
        arm.episode(30)
        arm.flush()
        ending = run.trainer.run()
        assert (ending.reason, ending.exit_code) == ("stop.max_env_steps=30 reached", 3)


def test_a_good_policy_ends_training_and_the_best_checkpoint_holds_what_was_evaluated(tmp_path):
    config = dataclasses.replace(
        CONFIG,
        stop=StopConfig(when_autonomous=True),
        evaluation=EvaluationConfig(every_env_steps=20, episodes=3, in_a_row=2),
        keep_checkpoints=1,
    )
    with opened(tmp_path, config) as run:
        prepare(run.trainer, run.log)
        arm = Arm(run)
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


AUTONOMOUS = dataclasses.replace(
    CONFIG,
    stop=StopConfig(when_autonomous=True, max_env_steps=60),
    evaluation=EvaluationConfig(every_env_steps=20, episodes=4, success_mark=0.75, in_a_row=2),
    keep_checkpoints=1,
)


def test_the_best_is_one_of_the_evaluations_that_ended_training(tmp_path):
    with opened(tmp_path, AUTONOMOUS) as run:
        prepare(run.trainer, run.log)
        arm = Arm(run)
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
    with opened(tmp_path, AUTONOMOUS) as run:
        prepare(run.trainer, run.log)
        arm = Arm(run)
        run.ingest.connected("arm", 1)
        arm.episode(20, human=range(human))
        for _ in range(2):
            run.evaluate(arm, successes=4, episodes=4, steps=5)
        assert run.trainer.run().outcome == outcome


def test_what_is_evaluated_and_kept_is_the_moving_average(tmp_path):
    with opened(tmp_path, AUTONOMOUS) as run:
        prepare(run.trainer, run.log)
        arm = Arm(run)
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


def test_the_share_of_demonstrations_is_the_one_asked_for(tmp_path):
    config = dataclasses.replace(CONFIG, algorithm=dataclasses.replace(CONFIG.algorithm, demo_share=0.25))
    with opened(tmp_path, config) as run:
        prepare(run.trainer, run.log)
        arm = Arm(run)
        arm.episode(40, human=range(5, 15))
        arm.flush()
        update(run.trainer, 1)
        assert run.trainer.replay.last_demonstration_share == 0.25


def test_a_resumed_run_goes_on_with_its_evaluations_best_and_time(tmp_path):
    with opened(tmp_path, AUTONOMOUS) as run:
        prepare(run.trainer, run.log)
        arm = Arm(run)
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


def test_a_given_policy_starts_a_run_and_is_not_cloned_over(tmp_path):
    with opened(tmp_path / "first") as run:
        prepare(run.trainer, run.log)
        arm = Arm(run)
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


def test_a_checkpoint_that_does_not_fit_is_refused_and_nothing_falls_back(tmp_path):
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
    other = dataclasses.replace(CONFIG, algorithm=dataclasses.replace(CONFIG.algorithm, hidden=(8, 8)))
    with opened(tmp_path, other) as run, pytest.raises(CheckpointError, match=r"does not fit these settings.*Go back"):
        prepare(run.trainer, run.log)


def test_a_log_that_was_cut_behind_a_checkpoint_is_refused(tmp_path):
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
        arm = Arm(run)
        arm.episode(10)
        arm.flush()
        run.trainer.save()
    segment = next((tmp_path / "log").glob("segment-*.log"))
    with open(segment, "r+b") as file:
        file.truncate(segment.stat().st_size - 40)
    with opened(tmp_path) as run, pytest.raises(CheckpointError, match=r"needs the log up to offset .* ends at"):
        prepare(run.trainer, run.log)


def test_credit_follows_the_updates_and_is_shared(tmp_path):
    with opened(tmp_path) as run:
        prepare(run.trainer, run.log)
        first, second = Arm(run, "first", 1), Arm(run, "second", 2)
        spools = run.ingest.spools()
        run.trainer.give_credit(spools)
        assert run.credit("first") + run.credit("second") == 20 + 50
        first.episode(20)
        first.flush()
        run.trainer.give_credit(run.ingest.spools())
        assert run.credit("first") + run.credit("second") == 20 + 50
        first.episode(10)
        first.flush()
        update(run.trainer, 20)
        run.trainer.give_credit(run.ingest.spools())
        assert run.credit("first") == 30 + 25
        assert run.credit("second") == 25
        second.flush()


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


def test_the_loop_publishes_as_soon_as_the_disk_takes_the_number(tmp_path):
    with opened(tmp_path, dataclasses.replace(CONFIG, learning=False, stop=StopConfig(max_time_s=1.5))) as run:
        trainer = run.trainer
        prepare(trainer, run.log)
        arm = Arm(run)
        with contextlib.ExitStack() as disk:
            for entry in _logged(arm):
                trainer.take(entry)
            disk.enter_context(full_disk())
            trainer.begin_learning()
            assert trainer.version == 0
        trainer._first_step_s = trainer._checkpoint_s
        trainer.run()
        assert trainer.version == 1


def _logged(arm: Arm) -> list[pb.LogEntry]:
    arm.episode(20)
    ingest = arm.run.ingest
    while ingest.progress("arm").sequence < arm.sequence:
        pass
    return ingest.drain()


def test_the_learner_goes_on_without_the_file_of_version_0(tmp_path, capsys):
    with opened(tmp_path) as run:
        run.folder.policy_file(0).mkdir(parents=True)
        prepare(run.trainer, run.log)
        assert run.trainer.version == 0
    assert "policy version 0 was not written" in capsys.readouterr().out


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
        assert f"The newest good checkpoint is {good}: stop the learner, and start it again" in out
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
