"""The learner as its own process: a scripted actor drives a real environment over real gRPC."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from envs.generic import GymConfig
from envs.registry import derive_contract
from episodes.acting import ActingSettings
from episodes.log import EpisodeLog, LogError
from learner.config import LearnerConfig
from learner.demonstrations import DemonstrationError
from learner.main import kept_settings, run_learner
from learner.replay import ReplayConfig
from learner.run_folder import RunFolder, RunFolderError, open_run_folder
from learner.service_file import read_service_file
from tests.learner.learner_process import logged_steps
from transport import records_pb2 as pb
from transport import service_pb2 as sp


def test_a_run_from_first_step_to_a_policy_that_succeeds(start, join):
    learner = start(when_autonomous=True)
    actor = join(learner)
    assert actor.versions[0] == 0
    for i in range(3):
        actor.episode(seed=i, outcome=pb.OUTCOME_FAILURE)
    with grpc.insecure_channel(learner.address) as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    episode = actor.episode(seed=3, outcome=pb.OUTCOME_FAILURE)
    actor.wait(lambda: actor.acknowledged == actor.sequence)
    applied = actor.stub.AmendEpisode(
        sp.AmendEpisodeRequest(
            run_id=actor.run_id,
            amendment=pb.Amendment(episode_id=episode, author="person", outcome=pb.OUTCOME_SUCCESS, step=9),
        ),
        timeout=10,
    )
    assert applied.applied
    actor.wait(lambda: bool(actor.requests))
    assert actor.requests[0][:2] == (1, 3)
    actor.evaluate(successes=3)
    for i in range(4):
        actor.episode(seed=i)
    actor.wait(lambda: len(actor.requests) == 2)
    assert actor.requests[1][2] != actor.requests[0][2]
    status = actor.status()
    assert (status.phase, status.env_steps, status.episodes) == ("training", 80, 8)
    assert status.metrics["eval_success_rate"] == 1.0
    assert status.fault == ""
    rate, interventions = status.stop_conditions
    assert (rate.name, rate.value, rate.reached, rate.in_a_row, rate.met) == ("eval_success_rate", 1.0, 1, 2, False)
    assert (interventions.name, interventions.met) == ("intervention_rate", True)
    service = read_service_file(learner.run)
    assert (service.run_id, service.address, service.token_path) == (actor.run_id, learner.address, "")
    assert 0 < status.updates <= 60
    assert status.actors[0].name == "arm"
    assert status.actors[0].connected
    actor.evaluate(successes=3)
    actor.wait(lambda: bool(actor.finished))
    assert "succeeds on its own" in actor.finished
    assert learner.code() == 0, learner.text
    assert not (learner.run / "service.json").exists()
    assert actor.versions == sorted(set(actor.versions))
    lines = [json.loads(line) for line in (learner.run / "metrics.jsonl").read_text().splitlines()]
    assert [line["utd_ratio"] for line in lines if "utd_ratio" in line][-1] <= 1.0  # not in that of an evaluation
    assert max(line.get("success_rate", 0) for line in lines) == pytest.approx(1 / 4, abs=0.13)
    training = json.loads((learner.run / "training.json").read_text())
    assert training["outcome"] == "autonomous"
    assert training["env_steps"] == 80
    assert training["train_wall_s"] > 0
    assert training["best"]["success_rate"] == 1.0


def test_lockstep_holds_the_actor_within_the_ratio(start, join):
    learner = start(max_env_steps=100)
    actor = join(learner)
    for i in range(4):
        actor.episode(seed=i)
    assert actor.credit <= 20 + actor.status().updates + 30 + 1
    for i in range(6):
        actor.episode(seed=i)
    actor.wait(lambda: bool(actor.finished))
    assert actor.finished == "stop.max_env_steps=100 reached"
    assert learner.code() == 0, learner.text


def test_an_evaluation_goes_to_another_actor_when_the_first_leaves(start, join):
    learner = start()
    first = join(learner, name="first", spool_id="a")
    second = join(learner, name="second", spool_id="b")
    for i in range(4):
        first.episode(seed=i)
    first.wait(lambda: bool(first.requests))
    assert second.requests == []
    first.close()
    second.wait(lambda: bool(second.requests))
    assert second.requests[0][2:] == first.requests[0][2:], "the same starts and weights"
    assert second.requests[0][0] > first.requests[0][0]
    second.evaluate(successes=2)
    second.wait(lambda: second.acknowledged == second.sequence)
    deadline = time.monotonic() + 60
    while "eval_success_rate" not in second.status().metrics:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert learner.end() == 130


def test_a_killed_tracker_is_said_once_and_in_the_status_and_training_goes_on(start, join):
    learner = start(tracker="wandb")
    actor = join(learner)
    (tracker,) = (pid for pid in children(learner.process.pid) if b"metrics.tracker_child" in command_of(pid))
    os.kill(tracker, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not actor.status().fault and time.monotonic() < deadline:
        time.sleep(0.05)
    assert actor.status().fault == "tracker=wandb stopped: its process was killed by signal 9"
    for i in range(3):
        actor.episode(seed=i)
    actor.wait(lambda: actor.acknowledged == actor.sequence)
    assert learner.end() == 130
    assert len(logged_steps(learner.run)) == 30
    assert learner.text.count("tracker=wandb stopped") == 1


def children(pid: int) -> list[int]:
    lists = [(task / "children").read_text().split() for task in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for found in lists for child in found]


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.fixture
def config(tmp_path) -> LearnerConfig:
    return LearnerConfig(
        "gym",
        GymConfig(),
        str(tmp_path / "run"),
        address="localhost:0",
        token_path=str(tmp_path / "token"),
        replay=ReplayConfig(capacity_gb=0.01),
    )


def folder_of(config: LearnerConfig) -> RunFolder:
    """Made as a learner with these settings makes it."""
    contract = derive_contract(config.env, config.env_config)
    return open_run_folder(
        config.run,
        contract,
        env=config.env,
        resume="auto",
        replay_bytes=config.replay.capacity_bytes(),
        settings=kept_settings(config),
    )


def test_a_run_is_not_resumed_with_another_seed_or_capacity(config):
    folder_of(config)
    other = replace(config, acting=ActingSettings(seed=5), replay=ReplayConfig(capacity_gb=0.02))
    with pytest.raises(
        RunFolderError, match=r"seed: expected 5, got 0\n  replay\.capacity_gb: expected 0\.02, got 0\.01"
    ):
        run_learner(other)


def test_demonstrations_that_are_not_there_are_refused_before_a_run_folder_is_made(config, tmp_path):
    missing = replace(config, demos=str(tmp_path / "run-demos"))
    with pytest.raises(DemonstrationError, match=r"run-demos is no folder\. Record some with `tandem record`"):
        run_learner(missing)
    assert not (tmp_path / "run").exists()


def test_a_second_learner_on_the_same_folder_is_refused(config):
    folder = folder_of(config)
    fingerprint = derive_contract(config.env, config.env_config).interface_fingerprint
    with (
        EpisodeLog(folder.log, run_id=folder.run_id, interface_fingerprint=fingerprint, sync="os"),
        pytest.raises(
            LogError, match=rf"{folder.log} is being written by another process .* choose another run folder"
        ),
    ):
        run_learner(config)


def test_a_run_of_an_earlier_version_says_which_settings_take_their_defaults(config, capsys):
    folder = folder_of(config)
    run = json.loads((folder.path / "run.json").read_text())
    del run["settings"]["algorithm"]["takeover_discount"], run["settings"]["replay"]["device"]
    (folder.path / "run.json").write_text(json.dumps(run))
    with (
        EpisodeLog(folder.log, run_id=folder.run_id, interface_fingerprint=folder.contract.interface_fingerprint),
        pytest.raises(LogError, match="is being written by another process"),
    ):
        run_learner(config)
    said = "these settings take their defaults: algorithm.takeover_discount=1.0, replay.device=auto"
    assert f"run made by an earlier version; {said}" in capsys.readouterr().out
