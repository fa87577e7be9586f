"""How actors end, and what they say of it."""

import errno
import re
import shlex
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from actor.config import ActorConfig
from actor.ending import Next, command, delivered_words, say_stopped_waiting
from actor.spool import Spool
from actor.spool_folder import SpoolFolder
from actor.stop_signal import StopSignal
from cli import actor as actor_verb
from cli.composition import compose_verb
from envs.generic import GymConfig
from envs.registry import derive_contract
from reward.config import ClassifierReward
from transport import records_pb2 as records
from transport.certificates import issue_actor


def executed(run):
    """(episode, step) of every step in the log, by the witness's own numbers."""
    return [tuple(int(v) for v in np.frombuffer(s.observation[0], np.float32)[:2]) for s in run.steps]


@pytest.fixture
def acting(bench, actor, wait_for):
    """Starts a learner and an actor whose steps take ``step_s``; both, once more than ``steps`` are delivered."""

    def start(step_s, steps):
        run = bench("gym", GymConfig(id="Witness-v0", settings=f"step_s={step_s}"))
        run.publish(0)
        arm = actor(run.port)
        wait_for(lambda: len(run.steps) > steps)
        return run, arm

    return start


def test_ctrl_c_again_and_again_ends_an_actor_at_once_and_loses_nothing(acting, actor, wait_for):
    run, arm = acting(step_s=0.5, steps=1)
    run.stop()
    count = len(arm.witnessed)
    wait_for(lambda: len(arm.witnessed) > count)
    while arm.process.poll() is None:
        arm.interrupt()
        time.sleep(0.02)
    assert arm.end() == 130
    again = rf"To deliver them and go on: tandem actor learner.address=localhost:{run.port} actor.name=arm actor.spool="
    assert re.search(rf"actor: stopped at once; \d+ wait in {arm.spools}/arm/run-a\. {again}", arm.text)
    assert "Traceback" not in arm.text
    run.start()
    assert actor(run.port, flush=True).end() == 0
    assert executed(run) == arm.witnessed


def test_ctrl_c_that_bounced_is_one(acting):
    run, arm = acting(step_s=0.5, steps=1)
    arm.interrupt()
    arm.process.send_signal(signal.SIGTERM)  # not a second SIGINT, which the first would swallow while it waits
    assert arm.end() == 130
    assert "actor: stopped actor: every step is delivered. To go on: tandem actor" in arm.text
    assert "at once" not in arm.text
    assert executed(run) == arm.witnessed


def test_an_actor_whose_name_is_taken_over_here_says_so(acting, actor, wait_for):
    run, older = acting(step_s=0.02, steps=5)
    newer = actor(run.port, takeover=True)
    assert older.end() == 1
    assert "another actor on this machine took over the name 'arm' actor: every step is delivered." in older.text
    assert "tandem actor" not in older.text
    count = len(older.witnessed)
    wait_for(lambda: len(run.steps) > count + 5)
    run.ingest.finish("enough")
    assert newer.end() == 0, newer.text
    assert executed(run) == newer.witnessed


def test_an_actor_that_still_looks_for_a_learner_is_taken_over_too(actor, wait_for):
    older = actor(1)
    wait_for(lambda: "waiting for a learner" in older.text)
    newer = actor(1, takeover=True)
    assert older.end() == 1
    assert older.text.endswith("another actor on this machine took over the name 'arm'")
    wait_for(lambda: "waiting for a learner" in newer.text)
    newer.interrupt()
    assert newer.end() == 130
    assert newer.text.endswith("actor: stopped")


def test_a_learner_that_serves_another_run_now_gets_no_advice_to_join_it(acting, wait_for, tmp_path):
    run, arm = acting(step_s=0.02, steps=5)
    run.stop()
    count = len(arm.witnessed)
    wait_for(lambda: len(arm.witnessed) > count + 5)
    run.folder, run.run_id = tmp_path / "other", "run-b"
    run.start()
    assert arm.end() == 1
    assert "the learner refuses this actor: run_id: expected 'run-b', got 'run-a'" in arm.text
    assert f"records are not delivered yet and stay in {arm.spools}/arm/run-a." in arm.text
    assert "tandem actor" not in arm.text


@pytest.fixture
def waiting(tmp_path):
    """The folder of a spool of run-a in which two records of ``arm`` wait."""
    folder = SpoolFolder(tmp_path / "spools", "arm")
    contract = derive_contract("gym", GymConfig(id="Witness-v0"))
    spool, _ = folder.open("run-a", contract, 1)
    start = records.EpisodeStart(episode_id="0" * 32, purpose=records.PURPOSE_TRAINING, observation=[bytes(12)])
    spool.start_episode(start)
    spool.recover()
    spool.close()
    folder.close()
    return tmp_path / "spools" / "arm" / "run-a"


def test_stopped_at_once_says_how_to_go_on(tmp_path, waiting):
    said, stop, root = [], StopSignal(), tmp_path / "spools"
    stop.asked = stop.hurried = True
    say_stopped_waiting(ActorConfig(), "arm", root, said.append, stop)
    say_stopped_waiting(ActorConfig(), "leg", root, said.append, stop)
    say_stopped_waiting(ActorConfig(flush=True), "", root, said.append, stop)
    command = "tandem actor learner.address=localhost:50051"
    assert said == [
        f"stopped at once; 2 wait in {waiting}. To deliver them and go on: {command} actor.name=arm",
        f"stopped at once; 0 wait in {root / 'leg'}. To go on: {command} actor.name=leg",
        f"stopped at once; 2 wait in {waiting}. To deliver them: {command} flush=true",
    ]


@pytest.mark.parametrize("name", ["/x", "*", "a[r]m"])
def test_a_name_that_no_actor_can_have_is_refused_before_anything_is_looked_for(actor, waiting, name):
    flushing = actor(1, flush=True, name=name)
    assert flushing.end() == 1
    assert flushing.text == f"actor: an actor's name must be letters, digits, '.', '_' and '-'. Got: {name!r}"


def test_the_spools_of_actors_that_run_do_not_count(tmp_path, waiting):
    said, stop = [], StopSignal()
    assert say_stopped_waiting(ActorConfig(), "", waiting.parent.parent, said.append, stop) == 130
    running = SpoolFolder(tmp_path / "spools", "arm")
    assert say_stopped_waiting(ActorConfig(), "", waiting.parent.parent, said.append, stop) == 130
    running.close()
    assert said == [f"stopped; 2 wait in {waiting}", "stopped"]


def test_a_command_that_an_expired_certificate_would_have_refused_says_so(tmp_path, waiting):
    path = tmp_path / "brief.pem"
    issue_actor(tmp_path / "tls", "arm", path, 0)
    spool = Spool(waiting / "spool.bin")
    said = delivered_words(spool, Next.GO_ON, ActorConfig(certificate=str(path)), "arm")
    spool.close()
    expired, _, then = said.partition("tandem certs name=arm")
    assert f"stay in {waiting}. The certificate {path} expired on 20" in expired
    assert ". To deliver them and go on then: tandem actor" in then


@pytest.mark.parametrize("name", ["", "arm"])
def test_ctrl_c_while_a_flush_looks_for_a_learner_says_what_waits(actor, wait_for, waiting, name):
    flushing = actor(1, flush=True, name=name)
    wait_for(lambda: "waiting for a learner" in flushing.text)
    flushing.interrupt()
    assert flushing.end() == 130
    assert flushing.text.endswith(f"actor: stopped; delivered 0 records; 2 wait in {waiting}")


def test_ctrl_c_while_a_flush_waits_for_the_learner_to_take_it_says_what_waits(bench, actor, wait_for, waiting):
    run = bench("gym", GymConfig(id="Witness-v0"))
    run.log.append = full_disk
    flushing = actor(run.port, flush=True)
    wait_for(lambda: "is full" in run.ingest.fault)
    flushing.interrupt()
    assert flushing.end() == 130
    assert f"actor: stopped; delivered 0 records; 2 wait in {waiting}" in flushing.text


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_command_that_goes_on_has_every_setting():
    reward = ClassifierReward(pretrained="a/model", gates=("tool.z>0.06",), confirm=2)
    config = ActorConfig(
        "gpu:1", "my token", spool="/tmp/spools", max_action=0.5, uniform_on_hardware=True, reward=reward
    )
    words = shlex.split(command(config, "arm"))
    assert words[:4] == ["tandem", "actor", "learner.address=gpu:1", "actor.name=arm"]
    usual = command(ActorConfig(flush=True, takeover=True), "arm")
    assert usual == "tandem actor learner.address=localhost:50051 actor.name=arm"
    settings = compose_verb("actor", actor_verb.list_keys(), actor_verb.list_groups(), words[2:])
    again = settings.build(ActorConfig, actor_verb.paths(), reward=settings.configs["reward"])
    assert again == replace(config, name="arm")
