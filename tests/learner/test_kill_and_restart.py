"""Learner processes that are killed, stopped by signals and started again: every record once, all saved."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import uuid

import numpy as np
import pytest

from episodes.log import read_log
from learner.checkpoint import newest_checkpoint
from tests.learner.learner_process import logged_steps
from tests.learner.scripted_actor import ScriptedActor
from transport import records_pb2 as pb


def test_nothing_is_lost_or_doubled_when_the_learner_is_killed_and_restarted(start, join):
    learner = start()
    actor = join(learner, spool_id="spool-of-the-arm")
    for i in range(6):
        actor.episode(seed=i)
    actor.wait(lambda: actor.acknowledged == actor.sequence)
    run, sequence, version = actor.run_id, actor.sequence, actor.versions[-1]
    deadline = time.monotonic() + 60
    while [int(n) for n in newest_checkpoint(learner.run / "checkpoints").name.split("-")[:2]] < [60, 30]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    learner.end(signal.SIGKILL)
    actor.close()

    learner = start()
    again = join(learner, spool_id="spool-of-the-arm")
    assert again.run_id == run
    assert again.acknowledged == again.sequence == sequence
    assert again.versions[0] > version
    status = again.status()
    assert status.env_steps == 60
    assert status.updates >= 30
    again.steps = 60
    for i in range(2):
        again.episode(seed=i)
    again.wait(lambda: again.acknowledged == again.sequence)
    assert learner.end() == 130
    steps = logged_steps(learner.run)
    assert len(steps) == len(set(steps))
    assert len(steps) == 80
    assert "resuming from 00000060-" in learner.text


def test_a_learner_killed_with_records_in_flight_loses_and_doubles_none(start, join):
    learner = start()
    actor = join(learner, spool_id="spool-of-the-arm")
    observation, _ = actor.env.reset(seed=0)
    zeros = [0.0] * actor.contract.interface.action.shape[0]
    packed = actor.layout.pack({name: np.asarray(value) for name, value in observation.items()})
    sent: list[pb.Record] = []

    def send(to: ScriptedActor, **body) -> None:
        to.send(**body)
        sent.append(pb.Record(sequence=to.sequence, **body))

    def episode(to: ScriptedActor, steps: int) -> None:
        name = uuid.uuid4().hex
        send(to, start=pb.EpisodeStart(episode_id=name, purpose=pb.PURPOSE_EVALUATION, observation=packed))
        for index in range(steps):
            step = pb.Step(episode_id=name, index=index, proposed=zeros, chosen=zeros, sent=zeros, observation=packed)
            send(to, step=step)
        send(to, end=pb.EpisodeEnd(episode_id=name, outcome=pb.OUTCOME_TIMEOUT, author="env", steps=steps))

    killer = threading.Thread(
        target=lambda: (actor.wait(lambda: actor.acknowledged > 200), learner.process.kill()), daemon=True
    )
    killer.start()
    deadline = time.monotonic() + 60
    while learner.process.poll() is None and time.monotonic() < deadline:
        if len(sent) - actor.acknowledged < 1000:
            episode(actor, 25)
        else:
            time.sleep(0.001)
    killer.join(10)
    learner.code()
    logged = sum(1 for _ in read_log(learner.run / "log"))
    assert actor.acknowledged <= logged < len(sent), "killed with records in flight"
    actor.close()

    learner = start()
    again = join(learner, spool_id="spool-of-the-arm")
    assert again.acknowledged == logged
    for record in sent[logged - 40 :]:
        again._records.put(record)
    again.sequence = len(sent)
    again.wait(lambda: again.acknowledged == len(sent))
    assert learner.end() == 130
    assert [entry.record for _, entry in read_log(learner.run / "log")] == sent


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_with_all_saved_and_says_how_to_go_on(start, join, number):
    learner = start()
    actor = join(learner)
    for i in range(3):
        actor.episode(seed=i)
    actor.wait(lambda: actor.acknowledged == actor.sequence)
    assert learner.end(number) == 130
    assert f"tandem learner run={learner.run}" in learner.text
    assert not actor.finished, "the run goes on: actors wait for the learner"
    newest = newest_checkpoint(learner.run / "checkpoints")
    assert newest is not None
    assert newest.name.startswith("00000030-")


def test_ctrl_c_pressed_twice_in_a_moment_saves_all_the_same(start, join):
    learner = start()
    actor = join(learner)
    for i in range(3):
        actor.episode(seed=i)
    actor.wait(lambda: actor.acknowledged == actor.sequence)
    learner.process.send_signal(signal.SIGINT)
    learner.process.send_signal(signal.SIGTERM)  # not a second SIGINT, which the first would swallow while it waits
    assert learner.code() == 130
    assert "stopping: writing the last checkpoint" in learner.text
    assert "Everything is saved" in learner.text
    newest = newest_checkpoint(learner.run / "checkpoints")
    assert newest is not None
    assert newest.name.startswith("00000030-")


@pytest.mark.parametrize(
    ("saves_last", "said"),
    [
        (True, "gave up the last checkpoint: the run goes on from the one before it"),
        (False, "ended at once"),
    ],
)
def test_ctrl_c_again_after_a_moment_gives_up_the_last_checkpoint(saves_last, said):
    code = (
        "import time; from types import SimpleNamespace; from learner.stop_signal import StopSignal\n"
        f"trainer = SimpleNamespace(stop=False, saves_last={saves_last})\n"
        "StopSignal(accident_s=0.0).stops(trainer); print('ready', flush=True)\n"
        "while not trainer.stop: time.sleep(0.01)\n"
        "print('stopping', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for word in ("ready", "stopping"):
            assert process.stdout.readline() == f"{word}\n"
            process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1].strip() == said
    assert process.returncode == 130
