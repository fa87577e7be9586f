"""The learner as its own process: a scripted actor drives a real environment over real gRPC, and processes die."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from envs.generic import GymConfig
from envs.registry import derive_contract, env_config_type, make_env
from episodes.acting import ActingSettings
from episodes.layout import ObservationLayout
from episodes.log import read_log
from learner.checkpoint import newest_checkpoint
from learner.config import LearnerConfig
from learner.main import kept_settings, run_learner
from learner.replay import ReplayConfig
from learner.run_folder import RunFolderError, open_run_folder
from learner.service_file import read_service_file
from policies.snapshot import load_snapshot
from policies.stacking import FrameStack
from transport import records_pb2 as pb
from transport import service_pb2 as sp
from transport import service_pb2_grpc
from transport.channel import PROTOCOL, open_channel
from transport.settings import config_from

TOKEN = "token-of-the-tests-0123456789"
LEARNER = """
import sys
from envs.generic import GymConfig
from episodes.acting import ActingSettings
from learner.algorithms.sac_config import SACConfig
from learner.config import EvaluationConfig, LearnerConfig, StopConfig
from learner.main import run_learner
from learner.replay import ReplayConfig

algorithm = SACConfig(batch_size=16, hidden=(16, 16), utd_ratio=1.0, clone_updates=0, critic_warmup_updates=0)
sys.exit(run_learner(LearnerConfig(
    env="gym", env_config=GymConfig(), run=sys.argv[1], address="localhost:0", algorithm=algorithm,
    replay=ReplayConfig(capacity_gb=0.01), acting=ActingSettings(warmup_steps=20), max_ahead=30, publish_every=20,
    checkpoint_every_s=0.2, report_every_s=0.1, device="cpu", console=False,
    evaluation=EvaluationConfig(every_env_steps=40, episodes=3, patience_s=3.0),
    stop=StopConfig(**eval(sys.argv[2])), tracker=sys.argv[3],
)))
"""


class Learner:
    """A learner process; ``lines`` is what it has said so far."""

    def __init__(self, run: Path, *, tracker: str = "none", **stop):
        self.run = run
        environment = {**os.environ, "TANDEM_TOKEN": TOKEN, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LEARNER, str(run), repr(stop), tracker],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        self.lines: list[str] = []
        for line in self.process.stdout:
            self.lines.append(line)
            if " listens on " in line:
                self.address = line.split()[-1]
                break
        else:
            pytest.fail("the learner did not start:\n" + "".join(self.lines))
        self._reader = threading.Thread(target=self.lines.extend, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def end(self, number: int = signal.SIGINT, timeout_s: float = 20.0) -> int:
        """Sends the signal and returns the exit code."""
        self.process.send_signal(number)
        return self.code(timeout_s)

    def code(self, timeout_s: float = 20.0) -> int:
        code = self.process.wait(timeout_s)
        self._reader.join(5)
        return code

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()


class ScriptedActor:
    """Steps the learner's environment with the newest policy, within its credit.

    Attributes:
        credit: Training steps allowed so far.
        acknowledged: Last sequence number in the learner's log.
        finished: The reason the learner gave for ending; empty before.
        versions: Acting versions received.
        requests: Evaluation requests received: (evaluation id, episodes, first seed, payload).
        steps: Training steps taken.
    """

    def __init__(self, address: str, token: str, *, name: str = "arm", spool_id: str | None = None, sequence: int = 0):
        self.channel = open_channel(address, token)
        self.stub = service_pb2_grpc.LearnerStub(self.channel)
        run = self.stub.Describe(sp.DescribeRequest(protocol=PROTOCOL), timeout=20, wait_for_ready=True)
        self.run_id = run.run_id
        config = config_from(env_config_type(run.env), run.env_settings)
        self.contract = derive_contract(run.env, config)
        self.env = make_env(run.env, config)
        self.layout = ObservationLayout(self.contract.stored)
        self.stack = FrameStack(
            {f.name: self.contract.view.stack(f.name) for f in self.contract.interface.observations}
        )
        self.spool_id = spool_id or uuid.uuid4().hex
        reply = self.stub.Join(
            sp.JoinRequest(
                protocol=PROTOCOL,
                run_id=run.run_id,
                actor=name,
                spool_id=self.spool_id,
                contract=self.contract.to_message(),
            ),
            timeout=10,
        )
        self.acknowledged = reply.acknowledged
        self.sequence = max(sequence, reply.acknowledged)
        self.credit, self.finished, self.steps = 0, "", 0
        self.versions: list[int] = []
        self.requests: list[tuple[int, int, int, bytes]] = []
        self.policy = None
        self.changed = threading.Condition()
        self._records: queue.Queue[pb.Record | None] = queue.Queue()
        self._threads = [threading.Thread(target=t, daemon=True) for t in (self._push, self._pull)]
        for thread in self._threads:
            thread.start()

    def wait(self, condition, timeout_s: float = 60.0) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, timeout_s), f"waited {timeout_s} s in vain"

    def send(self, **body) -> None:
        self.sequence += 1
        self._records.put(pb.Record(sequence=self.sequence, **body))

    def episode(
        self,
        *,
        purpose: int = pb.PURPOSE_TRAINING,
        seed: int = 0,
        steps: int = 10,
        outcome: int = pb.OUTCOME_TIMEOUT,
        human: range = range(0),
        evaluation_id: int = 0,
        policy=None,
        patience_s: float = 60.0,
    ) -> str:
        """Runs one episode of ``steps`` steps and returns its id. Training steps wait for credit."""
        episode_id = uuid.uuid4().hex
        observation, _ = self.env.reset(seed=seed % 2**31)
        stacked = self.stack.reset(observation)
        self.send(
            start=pb.EpisodeStart(
                episode_id=episode_id,
                purpose=purpose,
                start_seed=seed,
                observation=self.layout.pack(observation),
                evaluation_id=evaluation_id,
            )
        )
        policy = policy or self.policy
        for index in range(steps):
            if purpose == pb.PURPOSE_TRAINING:
                self.wait(lambda: self.credit > self.steps or self.finished, patience_s)
                if self.finished:
                    steps, outcome = index, pb.OUTCOME_CUT
                    break
            proposed = policy.act(stacked, deterministic=evaluation_id > 0)
            chosen = -proposed if index in human else proposed
            observation, reward, terminated, truncated, _ = self.env.step(chosen)
            stacked = self.stack.push(observation)
            self.steps += purpose == pb.PURPOSE_TRAINING
            last = index == steps - 1
            self.send(
                step=pb.Step(
                    episode_id=episode_id,
                    index=index,
                    proposed=proposed,
                    chosen=chosen,
                    sent=chosen,
                    observation=self.layout.pack(observation),
                    rewards=[pb.Reward(source="env", value=float(np.float32(reward)))],
                    terminated=terminated,
                    truncated=truncated or last,
                    human=index in human,
                    policy_version=self.versions[-1],
                )
            )
        self.send(end=pb.EpisodeEnd(episode_id=episode_id, outcome=outcome, author="env", steps=steps))
        return episode_id

    def evaluate(self, successes: int, steps: int = 3) -> None:
        """Answers the newest evaluation request, ``successes`` of its episodes successful."""
        evaluation_id, episodes, first_seed, payload = self.requests[-1]
        policy = load_snapshot(payload)[2]
        for index in range(episodes):
            self.episode(
                purpose=pb.PURPOSE_EVALUATION,
                seed=first_seed + index,
                steps=steps,
                outcome=pb.OUTCOME_SUCCESS if index < successes else pb.OUTCOME_FAILURE,
                evaluation_id=evaluation_id,
                policy=policy,
            )

    def status(self) -> sp.Status:
        return self.stub.GetStatus(sp.GetStatusRequest(), timeout=10)

    def close(self) -> None:
        self._records.put(None)
        self.channel.close()
        for thread in self._threads:
            thread.join(5)
        self.env.close()

    def _push(self) -> None:
        try:
            for reply in self.stub.Push(self._batches()):
                with self.changed:
                    self.acknowledged, self.credit = reply.sequence, reply.step_credit
                    self.finished = self.finished or (reply.finished_reason if reply.finished else "")
                    self.changed.notify_all()
                if reply.finished:
                    self._records.put(None)
        except (grpc.RpcError, ValueError):
            pass

    def _batches(self) -> Iterator[sp.RecordBatch]:
        yield sp.RecordBatch(run_id=self.run_id, spool_id=self.spool_id)
        while (record := self._records.get()) is not None:
            yield sp.RecordBatch(run_id=self.run_id, spool_id=self.spool_id, records=[record])

    def _pull(self) -> None:
        try:
            while True:
                have = self.versions[-1] + 1 if self.versions else 0
                asked = self.requests[-1][0] if self.requests else 0
                chunks = list(
                    self.stub.PullPolicy(
                        sp.PullPolicyRequest(
                            run_id=self.run_id, spool_id=self.spool_id, have_version=have, have_evaluation=asked
                        )
                    )
                )
                if not chunks:
                    continue
                head, payload = chunks[0], b"".join(c.data for c in chunks)
                with self.changed:
                    if head.use == sp.POLICY_USE_EVALUATION:
                        self.requests.append(
                            (head.evaluation_id, head.evaluation_episodes, head.evaluation_first_seed, payload)
                        )
                    else:
                        self.policy = load_snapshot(payload)[2]
                        self.versions.append(head.version)
                    self.changed.notify_all()
        except (grpc.RpcError, ValueError):
            pass


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Learner]]:
    learners: list[Learner] = []

    def begin(**stop) -> Learner:
        learners.append(Learner(tmp_path / "run", **stop))
        return learners[-1]

    yield begin
    for learner in learners:
        learner.close()


@pytest.fixture
def join() -> Iterator[Callable[..., ScriptedActor]]:
    actors: list[ScriptedActor] = []

    def begin(learner: Learner, **settings) -> ScriptedActor:
        actors.append(ScriptedActor(learner.address, TOKEN, **settings))
        actors[-1].wait(lambda: bool(actors[-1].versions))
        return actors[-1]

    yield begin
    for actor in actors:
        actor.close()


def logged_steps(run: Path) -> list[tuple[str, int]]:
    entries = (entry.record for _, entry in read_log(run / "log"))
    return [(r.step.episode_id, r.step.index) for r in entries if r.WhichOneof("body") == "step"]


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
    assert lines[-1]["utd_ratio"] <= 1.0
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_within_5_s_with_all_saved_and_says_how_to_go_on(start, join, number):
    learner = start()
    actor = join(learner)
    for i in range(3):
        actor.episode(seed=i)
    actor.wait(lambda: actor.acknowledged == actor.sequence)
    began = time.monotonic()
    assert learner.end(number) == 130
    assert time.monotonic() - began < 5
    assert f"tandem learner run={learner.run}" in learner.text
    assert not actor.finished, "the run goes on: actors wait for the learner"
    newest = newest_checkpoint(learner.run / "checkpoints")
    assert newest is not None
    assert newest.name.startswith("00000030-")


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


def test_a_run_is_not_resumed_with_another_seed_or_capacity(tmp_path):
    token = tmp_path / "token"
    config = LearnerConfig(
        "gym", GymConfig(), str(tmp_path / "run"), token_path=str(token), replay=ReplayConfig(capacity_gb=0.01)
    )
    contract = derive_contract("gym", config.env_config)
    open_run_folder(config.run, contract, env="gym", resume="auto", replay_bytes=1, settings=kept_settings(config))
    other = replace(config, acting=ActingSettings(seed=5), replay=ReplayConfig(capacity_gb=0.02), address="localhost:0")
    with pytest.raises(
        RunFolderError, match=r"seed: expected 0, got 5\n  replay\.capacity_gb: expected 0\.01, got 0\.02"
    ):
        run_learner(other)


def test_ctrl_c_while_a_learner_starts_ends_it_with_one_line(tmp_path):
    program = (
        "import sys; from cli.main import main; import learner; print('go', flush=True); "
        "sys.exit(main(['learner', 'env=gym', 'tracker=none', 'learner.address=localhost:0', f'run={sys.argv[1]}']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TANDEM_TOKEN": TOKEN},
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "go\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[0]
    assert process.returncode == 130
    assert said == "tandem: stopped by Ctrl-C\n"


def test_demonstrations_that_are_not_there_are_refused_before_a_run_folder_is_made(tmp_path):
    program = LEARNER.replace("run=sys.argv[1],", "run=sys.argv[1], demos=sys.argv[1] + '-demos',")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run"), "{}", "none"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TANDEM_TOKEN": TOKEN},
    )
    assert done.returncode == 1
    assert "run-demos is no folder. Record some with `tandem record`" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_second_learner_on_the_same_folder_is_refused(start, tmp_path):
    start()
    second = subprocess.run(
        [sys.executable, "-c", LEARNER, str(tmp_path / "run"), "{}", "none"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TANDEM_TOKEN": TOKEN},
    )
    assert second.returncode == 1
    assert "LogError" in second.stderr
