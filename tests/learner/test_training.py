"""The update loop on a real log, ingest, replay and algorithm; only the wire is left out (see test_main.py)."""

from __future__ import annotations

import dataclasses

from episodes.outcome import Outcome
from learner.config import StopConfig
from learner.startup import prepare
from learner.status import status_message
from learner.training import TRAINING
from metrics import names
from tests.learner.training_run import CONFIG, Arm, assert_equal, opened, started, tensors, update
from transport import records_pb2 as pb


def test_the_ratio_counts_from_the_very_step_the_warm_up_ends(tmp_path):
    with started(tmp_path) as (run, arm):
        for _ in range(5):
            arm.episode(10)
        arm.flush()
        assert run.trainer.limiter.started_at == 20
        assert run.trainer.limiter.due() == 60
        assert run.trainer.phase == TRAINING
        assert sum(run.trainer.update() for _ in range(200)) == 60
        assert run.trainer.version == 1 + 60 // 10


def test_an_amendment_reaches_replay_and_metrics(tmp_path):
    with started(tmp_path) as (run, arm):
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
    with started(tmp_path, config) as (run, arm):
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


def test_the_share_of_demonstrations_is_the_one_asked_for(tmp_path):
    config = dataclasses.replace(CONFIG, algorithm=dataclasses.replace(CONFIG.algorithm, demo_share=0.25))
    with started(tmp_path, config) as (run, arm):
        arm.episode(40, human=range(5, 15))
        arm.flush()
        update(run.trainer, 1)
        assert run.trainer.replay.last_demonstration_share == 0.25


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
