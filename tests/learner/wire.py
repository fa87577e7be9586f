"""A small contract, records of episodes, and a real learner server on loopback with the calls of an actor."""

from __future__ import annotations

import queue

import grpc
import pytest

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from episodes.log import EpisodeLog
from learner.ingest import Ingest
from learner.publisher import PolicyPublisher
from learner.service import LearnerServer
from transport import records_pb2 as pb
from transport import service_pb2 as sp
from transport import service_pb2_grpc
from transport.channel import PROTOCOL, open_channel

TOKEN = "token-of-the-tests-0123456789"
RUN = "run-of-the-tests"
SPOOL = "spool-0"


def wire_contract(state_size: int = 2) -> Contract:
    return Contract(
        Interface(
            task="tests/wire",
            observations=(Feature("observation.state", "float32", (state_size,)),),
            action=Feature("action", "float32", (1,), low=(-1.0,), high=(1.0,)),
        ),
        View((FeatureView("observation.state", stack=1),)),
    )


def episode_records(episode: int, steps: int, first_sequence: int = 1, purpose: int = pb.PURPOSE_TRAINING):
    """Start, ``steps`` steps and end of one valid episode."""
    episode_id = f"{episode:032x}"
    observation = [bytes(8)]
    records = [
        pb.Record(start=pb.EpisodeStart(episode_id=episode_id, purpose=purpose, observation=observation)),
        *(
            pb.Record(
                step=pb.Step(
                    episode_id=episode_id,
                    index=index,
                    proposed=[0.1],
                    chosen=[0.2],
                    sent=[0.3],
                    observation=observation,
                    rewards=[pb.Reward(source="env", value=0.0)],
                )
            )
            for index in range(steps)
        ),
        pb.Record(end=pb.EpisodeEnd(episode_id=episode_id, outcome=pb.OUTCOME_SUCCESS, author="env", steps=steps)),
    ]
    for sequence, record in enumerate(records, start=first_sequence):
        record.sequence = sequence
    return records


class Wire:
    """One served run and the calls of an actor on it."""

    def __init__(self, folder, *, sync: str = "os", queue_bytes: int = 1 << 24, max_message_bytes: int = 1 << 20):
        self.contract = wire_contract()
        self.log = EpisodeLog(folder, run_id=RUN, interface_fingerprint=self.contract.interface_fingerprint, sync=sync)
        self.ingest = Ingest(self.log, self.contract, queue_bytes=queue_bytes)
        self.publisher = PolicyPublisher()
        self.description = sp.RunDescription(
            protocol=PROTOCOL, run_id=RUN, env="tests", contract=self.contract.to_message()
        )
        self.server = LearnerServer(
            "localhost:0",
            TOKEN,
            self.description,
            self.ingest,
            self.publisher,
            lambda: sp.Status(run_id=RUN, phase="waiting"),
            max_message_bytes,
        )
        self.address = f"localhost:{self.server.start()}"
        self.channel = open_channel(self.address, TOKEN)
        self.stub = service_pb2_grpc.LearnerStub(self.channel)

    def join(self, spool_id: str = SPOOL, actor: str = "") -> sp.JoinReply:
        """As ``actor``; without one, as that of the spool."""
        return self.stub.Join(self.join_request(spool_id, actor), timeout=10)

    def join_request(self, spool_id: str = SPOOL, actor: str = "") -> sp.JoinRequest:
        actor = actor or ("arm" if spool_id == SPOOL else f"arm-{spool_id}")
        return sp.JoinRequest(
            protocol=PROTOCOL, run_id=RUN, actor=actor, spool_id=spool_id, contract=self.contract.to_message()
        )

    def batch(self, records, spool_id: str = SPOOL) -> sp.RecordBatch:
        return sp.RecordBatch(run_id=RUN, spool_id=spool_id, records=records)

    def push(self, *batches: sp.RecordBatch) -> list[int]:
        """Sends the batches, closes this side, and returns the sequences acknowledged."""
        return [reply.sequence for reply in self.stub.Push(iter(batches), timeout=10)]

    def close(self) -> None:
        self.channel.close()
        self.server.stop(0.2)
        self.ingest.close()
        self.log.close()


class Stream:
    """An open Push whose batches are sent one by one."""

    def __init__(self, wire):
        self._out: queue.Queue[sp.RecordBatch | None] = queue.Queue()
        self.call = wire.stub.Push(iter(self._out.get, None))

    def send(self, batch: sp.RecordBatch) -> None:
        self._out.put(batch)

    def until(self, wanted) -> sp.Acknowledgement:
        return next(reply for reply in self.call if wanted(reply))

    def close(self) -> None:
        self._out.put(None)


def sequences(wire) -> list[int]:
    return [entry.record.sequence for _, entry in wire.log.read()]


def entries(wire) -> list[pb.LogEntry]:
    return [entry for _, entry in wire.log.read()]


def refusal(call) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    return caught.value


def refused(call, *args, **kwargs) -> grpc.RpcError:
    """The error of a call that must not be answered."""
    try:
        reply = call(*args, timeout=10, **kwargs)
        if hasattr(reply, "__iter__"):
            list(reply)
    except grpc.RpcError as error:
        return error
    pytest.fail("the call was answered")
