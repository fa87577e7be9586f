"""Whole actors, two processes each, against the real service on loopback, killed and cut at bad moments.

What was executed is known from a record the environment itself keeps; the log must hold exactly that.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.generic import GymConfig
from envs.registry import derive_contract
from episodes.outcome import Outcome, Purpose
from episodes.seeds import SeedStream, start_seed
from episodes.spool_position import SpoolPosition
from tests.ports import lasting_port
from transport import service_pb2 as sp
from transport import service_pb2_grpc as rpc
from transport.channel import PROTOCOL, open_channel

WITNESS = GymConfig(id="Witness-v0")
SLOW = GymConfig(id="Witness-v0", settings="step_s=0.02")


def logged(bench):
    """(episode, step) of every whole step in the log, by the witness's own numbers, and the interrupted steps."""
    whole, interrupted = [], []
    position = {}
    for record in bench.records:
        if record.HasField("step"):
            if record.step.interrupted:
                interrupted.append(record.step)
            else:
                episode, count, _ = np.frombuffer(record.step.observation[0], np.float32)
                whole.append((int(episode), int(count)))
    for entry in bench.entries:
        position.setdefault(entry.spool_id, SpoolPosition()).advance(entry.record)
    return whole, interrupted


def finish(bench, actor):
    bench.ingest.finish("enough")
    assert actor.end() == 0, actor.text
    assert "the run is over: enough" in actor.text


def test_a_run_from_joining_to_its_end(bench, actor, wait_for, tmp_path):
    run = bench("gym", WITNESS)
    run.credit = 40
    run.publish(0)
    arm = actor(run.port)
    wait_for(lambda: len(run.steps) == 40)
    time.sleep(0.3)
    assert len(arm.witnessed) == 40
    run.publish(1)
    run.publisher.request_evaluation(1, 1, run.snapshot(1, 1), 3, 1000, run.spool_id)
    run.credit = 100
    wait_for(lambda: len(run.steps) == 100 + 36)
    finish(run, arm)

    assert logged(run)[0] == arm.witnessed
    steps = run.steps
    assert [s.policy_version for s in steps[:40]] == [0] * 40
    assert steps[-1].policy_version == 1
    starts = [r.start for r in run.records if r.HasField("start")]
    training = [s for s in starts if s.purpose == Purpose.TRAINING]
    assert [s.start_seed for s in training] == [
        start_seed(0, SeedStream.TRAINING, "arm", n) for n in range(len(training))
    ]
    evaluations = [s for s in starts if s.purpose == Purpose.EVALUATION]
    assert [(s.start_seed, s.evaluation_id) for s in evaluations] == [(1000, 1), (1001, 1), (1002, 1)]
    ends = [r.end for r in run.records if r.HasField("end")]
    assert {e.outcome for e in ends[:-1]} == {Outcome.TIMEOUT}
    assert ends[-1].outcome in (Outcome.CUT, Outcome.TIMEOUT)
    assert not (tmp_path / "spools" / "arm" / "run-a").exists()


def test_waits_for_a_learner_and_lives_through_its_restart(bench, actor, wait_for):
    port = lasting_port()
    arm = actor(port)
    wait_for(lambda: f"waiting for a learner: nobody answers at localhost:{port}" in arm.text)
    assert f"ssh -L {port}:localhost:{port} GPUBOX" in arm.text
    run = bench("gym", SLOW, port=port)
    run.publish(0)
    wait_for(lambda: len(run.steps) > 30)
    run.stop()
    executed = len(arm.witnessed)
    wait_for(lambda: len(arm.witnessed) > executed + 20)
    assert "steps wait in the spool" in arm.text
    run.entries.clear()
    run.start()
    run.publish(2)
    wait_for(lambda: len(run.steps) > executed + 40)
    wait_for(lambda: run.steps[-1].policy_version == 2)
    run.ingest.finish("enough")
    assert arm.end() == 0
    whole = [tuple(int(v) for v in np.frombuffer(s.observation[0], np.float32)[:2]) for s in run.steps]
    assert whole == arm.witnessed


def _counted(arm) -> list[int]:
    """Steps that its lines tell of."""
    return [int(steps) for steps in re.findall(r"steps with evaluations (\d+)", arm.text)]


def test_kill_the_control_process(bench, actor, wait_for):
    run = bench("gym", SLOW)
    run.publish(0)
    arm = actor(run.port)
    wait_for(lambda: len(arm.witnessed) > 20)
    os.kill(arm.control_pid, signal.SIGKILL)
    count = len(arm.witnessed)
    wait_for(lambda: len(arm.witnessed) > count + 20)
    wait_for(lambda: _counted(arm)[-1:] > [count])
    finish(run, arm)
    whole, interrupted = logged(run)
    assert "was killed by signal 9; starting it again" in arm.text
    assert len(interrupted) <= 1
    # The call that was killed may have written its line before it died: it is there as interrupted.
    missing = [step for step in arm.witnessed if step not in whole]
    assert len(missing) <= len(interrupted)
    assert whole == [step for step in arm.witnessed if step in whole]
    ends = [r.end.outcome for r in run.records if r.HasField("end")]
    assert ends.count(Outcome.CUT) in (1, 2)
    assert _counted(arm) == sorted(_counted(arm))


def test_kill_the_comms_process_and_start_again(bench, actor, wait_for):
    run = bench("gym", SLOW)
    run.publish(0)
    arm = actor(run.port)
    wait_for(lambda: len(arm.witnessed) > 30)
    control = arm.control_pid
    arm.process.kill()
    arm.process.wait()
    wait_for(lambda: not Path(f"/proc/{control}").exists())
    stopped_at = len(arm.witnessed)
    again = actor(run.port)
    wait_for(lambda: len(again.witnessed) > stopped_at + 20)
    finish(run, again)
    assert logged(run) == (again.witnessed, [])
    assert len({entry.spool_id for entry in run.entries}) == 1


def test_a_full_spool_holds_between_episodes(bench, actor, wait_for):
    run = bench("gym", WITNESS)
    run.publish(0)
    arm = actor(run.port)
    wait_for(lambda: len(run.steps) > 20)
    run.stop()
    wait_for(lambda: "the spool is full: holding between two episodes" in arm.text)
    executed = len(arm.witnessed)
    time.sleep(0.5)
    assert len(arm.witnessed) == executed
    run.entries.clear()
    run.start()
    run.publish(1)
    wait_for(lambda: len(arm.witnessed) > executed + 50)
    run.ingest.finish("enough")
    assert arm.end() == 0
    whole = [tuple(int(v) for v in np.frombuffer(s.observation[0], np.float32)[:2]) for s in run.steps]
    assert whole == arm.witnessed
    assert Outcome.CUT not in [r.end.outcome for r in run.records if r.HasField("end")][:-1]


def test_interrupted_by_the_person_with_the_learner_away(bench, actor, wait_for):
    run = bench("gym", SLOW)
    run.publish(0)
    arm = actor(run.port)
    wait_for(lambda: len(run.steps) > 20)
    run.stop()
    executed = len(arm.witnessed)
    wait_for(lambda: len(arm.witnessed) > executed + 20)
    arm.interrupt()
    assert arm.end() == 130
    assert "records are not delivered yet and stay in" in arm.text
    assert f"To deliver them and go on: tandem actor learner.address=localhost:{run.port} actor.name=arm" in arm.text
    run.start()
    run.publish(1)
    again = actor(run.port)
    wait_for(lambda: run.steps[-1].policy_version == 1)
    again.interrupt()
    assert again.end() == 130
    assert "every step is delivered. To go on: tandem actor" in again.text
    whole = [tuple(int(v) for v in np.frombuffer(s.observation[0], np.float32)[:2]) for s in run.steps]
    assert whole == again.witnessed


def test_refusals_are_one_message(bench, actor, tmp_path):
    run = bench("gym", WITNESS)
    wrong = actor(run.port, token="another-token-0123456789")
    assert wrong.end() == 1
    assert "refuses the token of TANDEM_TOKEN" in wrong.text
    assert "token" in wrong.text

    contract = derive_contract("gym", WITNESS)
    feature = replace(contract.interface.observations[0], shape=(4,))
    other = replace(contract, interface=replace(contract.interface, observations=(feature,)))
    run.stop()
    run.folder = tmp_path / "other"
    run.contract, run.port = other, 0
    run.start()
    mismatch = actor(run.port)
    assert mismatch.end() == 1
    assert "observation.state.shape: expected (4,), got (3,)" in mismatch.text
    assert "Traceback" not in wrong.text + mismatch.text


def test_a_policy_there_is_no_room_for_ends_the_actor(bench, actor):
    run = bench("gym", WITNESS)
    run.publisher.publish(1, bytes(3 << 20))
    arm = actor(run.port, policy_mb=1)
    assert arm.end() == 1
    assert f"has {3 << 20} bytes, more than the {1 << 20} that actor.policy_mb allows" in arm.text
    assert "Start again with actor.policy_mb=3" in arm.text


@contextlib.contextmanager
def served_from_elsewhere(run, name):
    """Another actor's stream to the learner."""
    request = sp.JoinRequest(
        protocol=PROTOCOL, run_id=run.run_id, actor=name, spool_id="elsewhere", contract=run.contract.to_message()
    )
    with open_channel(f"localhost:{run.port}", run.token) as channel:
        stub = rpc.LearnerStub(channel)
        stub.Join(request, timeout=10)
        left = threading.Event()

        def batches():
            yield sp.RecordBatch(run_id=run.run_id, spool_id="elsewhere")
            left.wait()

        stream = stub.Push(batches())
        next(stream)
        try:
            yield
        finally:
            left.set()
            stream.cancel()


def test_a_name_that_serves_the_learner_from_elsewhere_is_refused_until_that_one_is_gone(bench, actor, wait_for):
    run = bench("gym", SLOW)
    run.publish(0)
    with served_from_elsewhere(run, "arm"):
        arm = actor(run.port)
        assert arm.end() == 1
        assert "another actor named 'arm' serves this learner" in arm.text
        assert "actor.name=NAME" in arm.text
        assert len(run.ingest.spools()) == 1
        waiting = actor(run.port)
        wait_for(lambda: "an actor named 'arm' serves this learner; waiting for it to be gone" in waiting.text)
    wait_for(lambda: len(run.ingest.spools()) == 2)
    finish(run, waiting)


def test_an_environment_that_raises_ends_the_actor_with_its_words(bench, actor):
    run = bench("gym", GymConfig(id="Witness-v0", settings="fail_at=5"))
    run.publish(0)
    arm = actor(run.port)
    assert arm.end() == 1
    assert "the control process ended: RuntimeError: the witness was told to fail" in arm.text
    assert [s.interrupted for s in run.steps] == [False] * 4 + [True]


def test_an_operator_that_cannot_drive_is_refused(bench, actor):
    run = bench("gym", WITNESS)
    arm = actor(run.port, operator="scripted")
    assert arm.end() == 1
    assert "operator must be one of ['none', 'keyboard'] for env=gym. Got: 'scripted'" in arm.text


def test_the_control_process_imports_nothing_that_speaks():
    code = (
        "import sys, actor.control_main, actor.policy_pilot, envs.so101_sim, envs.generic, envs.teleop.scripted; "
        "print([m for m in ('grpc', 'wandb', 'rich', 'pynput') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("port", [1])
def test_interrupted_while_waiting(actor, wait_for, port):
    arm = actor(port)
    wait_for(lambda: "waiting for a learner" in arm.text)
    arm.interrupt()
    assert arm.end() == 130
