"""What a client may send that no actor would: to a spool of its own, and to that of an actor."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from random import Random
from uuid import uuid4

import grpc
import numpy as np
from faults.tree import Tree

from transport import records_pb2 as pb
from transport import service_pb2 as sp
from transport import service_pb2_grpc as rpc
from transport.certificates import issue_actor
from transport.channel import PROTOCOL, open_channel
from transport.push import push_call
from transport.trust import Trust

SPOOL = "hostile-spool"
TIMEOUT_S = 30.0


class Hostile:
    """A client with the token, in the contract of the run.

    Args:
        tree: Whose learner is called, past the cable.
        random: Chooses details.
        token: None for the right one.
    """

    def __init__(self, tree: Tree, random: Random, token: str | None = None) -> None:
        self._tree, self._random = tree, random
        self._channel = open_channel(f"localhost:{tree.port}", token or tree.token, tree.trust)
        self._stub = rpc.LearnerStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def describe(self) -> sp.RunDescription:
        return self._stub.Describe(sp.DescribeRequest(protocol=PROTOCOL), timeout=TIMEOUT_S, wait_for_ready=True)

    def join(self) -> int:
        """Joins its own spool and returns the last sequence number of it in the log."""
        run = self._run = self.describe()
        request = sp.JoinRequest(
            protocol=PROTOCOL, run_id=run.run_id, actor="hostile", spool_id=SPOOL, contract=run.contract
        )
        return self._stub.Join(request, timeout=TIMEOUT_S).acknowledged

    def push(self, batches: Sequence[bytes]) -> str:
        """Pushes serialized batches; the status the learner answers with."""

        def sent() -> Iterator[bytes]:
            yield from batches

        try:
            for _ in push_call(self._channel)(sent(), timeout=TIMEOUT_S):
                pass
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    def batch(self, records: Sequence[pb.Record], spool_id: str = SPOOL) -> bytes:
        return sp.RecordBatch(run_id=self._run.run_id, spool_id=spool_id, records=records).SerializeToString()

    def episode(self, first: int, steps: int = 4) -> list[pb.Record]:
        """A whole valid episode of the sequence numbers from ``first`` on, never trained on."""
        name, observation = uuid4().hex, [bytes(16)]
        numbers = {"proposed": [0.0, 0.0], "chosen": [0.0, 0.0], "sent": [0.0, 0.0], "observation": observation}
        start = pb.EpisodeStart(episode_id=name, purpose=pb.PURPOSE_EVALUATION, observation=observation)
        bodies: list[dict] = [{"start": start}]
        bodies += [{"step": pb.Step(episode_id=name, index=index, **numbers)} for index in range(steps)]
        bodies += [{"end": pb.EpisodeEnd(episode_id=name, outcome=pb.OUTCOME_CUT, author="actor", steps=steps)}]
        return [pb.Record(sequence=first + i, **body) for i, body in enumerate(bodies)]

    def good(self) -> None:
        """What is in order is taken, before and after anything else."""
        records = self.episode(self.join() + 1)
        expect(self.push([self.batch(records)]), "OK")


def expect(got: str, *wanted: str) -> None:
    """Raises AssertionError for another status than wanted."""
    if got not in wanted:
        raise AssertionError(f"expected the status {' or '.join(wanted)}, got {got}")


def duplicated(hostile: Hostile, tree: Tree, random: Random) -> None:
    """Records of the actor that the log has, once more, on the actor's own spool."""
    hostile.join()
    tree.log.read()
    status = hostile.push([hostile.batch(tree.log.newest["arm"], tree.log.spools["arm"])])
    expect(status, "OK", "ABORTED", "FAILED_PRECONDITION")  # the last where the actor has not joined yet


def reordered(hostile: Hostile, tree: Tree, random: Random) -> None:
    records = hostile.episode(hostile.join() + 1)
    a, b = sorted(random.sample(range(len(records)), 2))
    records[a], records[b] = records[b], records[a]
    expect(hostile.push([hostile.batch(records)]), "OUT_OF_RANGE")


def truncated(hostile: Hostile, tree: Tree, random: Random) -> None:
    data = hostile.batch(hostile.episode(hostile.join() + 1)[:3])
    cut = data[: random.randrange(len(data) - 60, len(data))]
    expect(hostile.push([cut]), "INVALID_ARGUMENT")


def oversized(hostile: Hostile, tree: Tree, random: Random) -> None:
    records = hostile.episode(hostile.join() + 1)
    records[1].step.observation[0] = bytes(random.choice((9, 40)) << 20)
    expect(hostile.push([hostile.batch(records)]), "RESOURCE_EXHAUSTED")


def wrong_dtype(hostile: Hostile, tree: Tree, random: Random) -> None:
    records = hostile.episode(hostile.join() + 1)
    records[2].step.observation[0] = np.zeros(4, random.choice(("f8", "u1", "f2"))).tobytes()
    expect(hostile.push([hostile.batch(records)]), "INVALID_ARGUMENT")


def not_finite(hostile: Hostile, tree: Tree, random: Random) -> None:
    records = hostile.episode(hostile.join() + 1)
    value = random.choice((np.nan, np.inf, -np.inf, 1e30))
    if random.random() < 0.5:
        records[2].step.observation[0] = np.full(4, value, np.float32).tobytes()
    else:
        records[2].step.chosen[0] = value
    expect(hostile.push([hostile.batch(records)]), "INVALID_ARGUMENT")


def garbage(hostile: Hostile, tree: Tree, random: Random) -> None:
    """Bytes that are no HTTP, and bytes that are no message."""
    hostile.join()
    with socket.create_connection(("localhost", tree.port), timeout=TIMEOUT_S) as raw:
        raw.sendall(random.randbytes(random.choice((1, 100, 10_000))))
    expect(hostile.push([b"\xff" * random.randint(1, 99)]), "INVALID_ARGUMENT")


def wrong_token(hostile: Hostile, tree: Tree, random: Random) -> None:
    stranger = Hostile(tree, random, token="another-token-0123456789")
    try:
        stranger.describe()
    except grpc.RpcError as error:
        expect(error.code().name, "UNAUTHENTICATED")
    else:
        raise AssertionError("a wrong token was let in")
    finally:
        stranger.close()


def expired_certificate(hostile: Hostile, tree: Tree, random: Random) -> None:
    """Also one of another authority, where the learner asks for certificates; elsewhere a wrong token."""
    if tree.trust is None:
        return wrong_token(hostile, tree, random)
    signer = tree.folder / random.choice(("tls", "other-tls"))
    days = 0 if signer.name == "tls" else 1  # a minute, an hour ago
    made = issue_actor(signer, "late", tree.folder / f"{random.getrandbits(64)}.pem", days)
    trust = Trust(tree.trust.authority, made.key, made.certificate)
    hostile.describe()  # the learner serves: whoever is refused now is refused for what it shows
    with open_channel(f"localhost:{tree.port}", tree.token, trust) as channel:
        try:
            rpc.LearnerStub(channel).Describe(sp.DescribeRequest(protocol=PROTOCOL), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return expect(error.code().name, "UNAVAILABLE")
    raise AssertionError("a certificate that has ended, or of another authority, was let in")


MESSAGES: dict[str, Callable[[Hostile, Tree, Random], None]] = {
    "duplicated records": duplicated,
    "reordered records": reordered,
    "a truncated batch": truncated,
    "an oversized batch": oversized,
    "a wrong dtype": wrong_dtype,
    "NaN and infinity": not_finite,
    "garbage": garbage,
    "a wrong token": wrong_token,
    "an expired certificate": expired_certificate,
}


def send(tree: Tree, random: Random, name: str) -> None:
    """Sends one of ``MESSAGES``, which must be refused as it should, and then records in order, which must not."""
    hostile = Hostile(tree, random)
    try:
        MESSAGES[name](hostile, tree, random)
        hostile.good()
    finally:
        hostile.close()
