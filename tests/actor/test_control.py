"""The control loop itself, in a thread, with a person at a keyboard."""

import base64
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from actor.config import ControlConfig
from actor.control import Control
from actor.control_process import ControlProcess
from actor.device_operator import publish
from actor.policy_pilot import PolicyPilot
from actor.shared import Board, Mailbox, Phase, create_block
from actor.spool import Spool, record_bytes
from envs.generic import GymConfig
from envs.registry import ENVS, derive_contract
from envs.teleop.device_state import DeviceState
from envs.teleop.operator import Event
from episodes.acting import ActingSettings
from episodes.outcome import Outcome, Purpose
from policies.snapshot import save_snapshot
from policies.spec import build_policy, spec_from_contract
from transport import records_pb2 as records
from transport import service_pb2 as pb
from transport.settings import settings_of

SLOW = GymConfig(id="Witness-v0", settings="step_s=0.03")
CAPACITY = 1 << 20


class Stage:
    """A control loop in a thread, its mailboxes, and the person's keyboard, which beats from a thread of its own."""

    def __init__(self, folder, **settings):
        contract = derive_contract("gym", SLOW)
        self.fds = (create_block(Board.SIZE), *(create_block(Mailbox.size(CAPACITY)) for _ in range(3)))
        self.board = Board(self.fds[0])
        self.weights, self.requests, self.frozen = (Mailbox(fd, CAPACITY) for fd in self.fds[1:])
        self.spool = Spool.create(
            folder / "spool.bin",
            run_id="run-a",
            actor="arm",
            fingerprint=contract.interface_fingerprint,
            slot_bytes=record_bytes(contract),
            capacity=2000,
        )
        self.payload = save_snapshot(build_policy(spec_from_contract(contract, hidden=(8,))), 1)
        self.weights.put(self.payload, version=1)
        self.board.comms["step_credit"] = 1 << 40
        config = ControlConfig(
            env="gym",
            env_settings=base64.b64encode(
                pb.RunDescription(env_settings=settings_of(SLOW)).SerializeToString()
            ).decode(),
            name="arm",
            run_id="run-a",
            spool_path=str(folder / "spool.bin"),
            operator="keyboard",
            pacing="lockstep",
            control_hz=0.0,
            warmup=ActingSettings().warmup,
            exploration_share=ActingSettings().exploration_share,
            seed=0,
            max_action=1.0,
            stale_observation_s=0.5,
            watchdog_s=1.0,
            device="cpu",
            torch_threads=torch.get_num_threads(),
            view_port=0,
            board_fd=self.fds[0],
            policy_fd=self.fds[1],
            evaluation_fd=self.fds[2],
            frozen_fd=self.fds[3],
        )
        self.alive = True
        self.events, self.driving = [], False
        self.control = Control(replace(config, **settings), lambda: self.alive, PolicyPilot)
        self._threads = [threading.Thread(target=run) for run in (self._press, self.control.run)]

    def start(self):
        for thread in self._threads:
            thread.start()
        return self

    def _press(self):
        pause = threading.Event()
        while self.alive:
            events, self.events = tuple(self.events), []
            held = np.float32([1, 1, 0, np.nan]) if self.driving else np.zeros(4, np.float32)
            publish(self.board, DeviceState(held=held, armed=True, intervening=self.driving, events=events))
            pause.wait(0.01)

    def ask(self, episodes):
        self.requests.put(self.payload, version=1, evaluation_id=1, episodes=episodes, first_seed=1000)

    @property
    def phase(self):
        return Phase(int(self.board.control["phase"]))

    @property
    def records(self):
        return [records.Record.FromString(self.spool.read(n + 1)) for n in range(self.spool.produced)]

    @property
    def steps(self):
        return [r.step for r in self.records if r.HasField("step")]

    def of(self, body):
        return [getattr(r, body) for r in self.records if r.HasField(body)]

    def end(self):
        self.alive = False
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(10)
        self.control.close()


@pytest.fixture
def stage(tmp_path):
    made = []

    def make(**settings):
        made.append(Stage(tmp_path, **settings))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_an_evaluation_waits_for_the_person_before_each_start_and_never_takes_an_action(stage, wait_for):
    one = stage()
    one.ask(2)
    one.start()
    one.driving = True
    wait_for(lambda: one.phase is Phase.WAITING_PERSON)
    assert one.spool.produced == 0
    one.events = [Event.READY]
    wait_for(lambda: len(one.of("end")) == 1)
    wait_for(lambda: one.phase is Phase.WAITING_PERSON)
    assert len(one.of("start")) == 1
    one.events = [Event.READY]
    wait_for(lambda: int(one.board.control["evaluated"]) == 1)
    assert [(s.purpose, s.start_seed) for s in one.of("start")] == [(Purpose.EVALUATION, s) for s in (1000, 1001)]
    assert len(one.steps) == 24
    assert not any(step.human for step in one.steps)
    assert all(list(step.chosen) == list(step.proposed) for step in one.steps)


def test_a_person_pauses_discards_and_stops_an_evaluation(stage, wait_for):
    one = stage()
    one.ask(3)
    one.start()
    one.events = [Event.READY]
    wait_for(lambda: len(one.steps) >= 2)
    one.events = [Event.PAUSE]
    wait_for(lambda: "waiting for you" in one.board.doing)
    paused = len(one.steps)
    threading.Event().wait(0.2)
    assert len(one.steps) == paused
    one.events = [Event.READY]
    wait_for(lambda: len(one.steps) > paused)
    one.events = [Event.DISCARD]
    wait_for(lambda: one.of("end"))
    one.events = [Event.READY]
    wait_for(lambda: len(one.of("start")) == 2)
    one.events = [Event.STOP]
    wait_for(lambda: len(one.of("end")) == 2)
    wait_for(lambda: one.phase is Phase.CLOSING)
    assert [end.outcome for end in one.of("end")] == [Outcome.DISCARDED, Outcome.CUT]
    assert [start.start_seed for start in one.of("start")] == [1000, 1000]
    assert not int(one.board.control["evaluated"])


def test_the_watchdog_stays_on_with_hardware(stage, monkeypatch):
    assert stage().control.runner.guard.fault_of_duration(5.0) == 0
    monkeypatch.setitem(ENVS, "gym", replace(ENVS["gym"], hardware=True))
    assert stage().control.runner.guard.fault_of_duration(5.0)


def _sleeping(monkeypatch, seconds):
    """A control process that only sleeps."""
    from subprocess import Popen

    monkeypatch.setattr("subprocess.Popen", lambda _, **settings: Popen(["sleep", str(seconds)], **settings))
    board = Board(create_block(Board.SIZE))
    said = []
    return board, said, ControlProcess(board, (), said.append)


def test_a_control_process_that_is_slow_to_close_is_not_killed(monkeypatch):
    board, said, process = _sleeping(monkeypatch, 2.9)
    done = threading.Event()

    def close_slowly():
        while not done.wait(0.05):
            board.beat(Phase.CLOSING)

    beating = threading.Thread(target=close_slowly)
    beating.start()
    process.stop()
    done.set()
    beating.join()
    assert process.poll() == 0
    assert said == []


def test_a_silent_control_process_is_killed_in_time(monkeypatch):
    board, said, process = _sleeping(monkeypatch, 60)
    board.beat(Phase.RUNNING)
    process.stop()
    assert process.poll() == -9
    assert said == ["the control process does not answer and is killed"]
