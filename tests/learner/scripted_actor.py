"""An actor in this process that does exactly what a test says, over real gRPC."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Iterator

import grpc
import numpy as np

from envs.registry import derive_contract, env_config_type, make_env
from episodes.layout import ObservationLayout
from policies.snapshot import load_snapshot
from policies.stacking import FrameStack
from transport import records_pb2 as pb
from transport import service_pb2 as sp
from transport import service_pb2_grpc
from transport.channel import PROTOCOL, open_channel
from transport.settings import config_from


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
        reply = self._join(
            sp.JoinRequest(
                protocol=PROTOCOL,
                run_id=run.run_id,
                actor=name,
                spool_id=self.spool_id,
                contract=self.contract.to_message(),
            )
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

    def _join(self, request: sp.JoinRequest) -> sp.JoinReply:
        """Waits, as an actor does, for one of its name to be gone."""
        give_up = time.monotonic() + 10.0
        while True:
            try:
                return self.stub.Join(request, timeout=10)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.ALREADY_EXISTS or time.monotonic() > give_up:
                    raise
                time.sleep(0.1)

    def wait(self, condition, timeout_s: float = 60.0) -> None:
        give_up = time.monotonic() + timeout_s
        with self.changed:
            while not condition():
                assert time.monotonic() < give_up, f"waited {timeout_s} s in vain"
                self.changed.wait(0.1)  # not every condition is about what this actor is told

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
