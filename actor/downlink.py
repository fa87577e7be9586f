"""From the learner to the control process: the newest policy and evaluation requests, on a channel of their own."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import grpc

from actor.shared import Mailbox
from actor.uplink import FATAL, Backoff, SaidRarely
from transport import service_pb2 as pb
from transport import service_pb2_grpc as rpc
from transport.plain_text import plain_text
from transport.priority import give_way

CHUNK_S = 60.0
"""A call is made anew when nothing came for this long [s]: neither a policy nor the next chunk of one."""
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION)
"""The second: until the uplink has joined a learner that was started again; it says why where that is refused."""
_STALLED = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
"""Nothing newer for long, or a policy that does not arrive, as the learner says or this actor."""
_FATAL = tuple(code for code in FATAL if code not in _AWAY)


class PolicyError(ValueError):
    """A policy that did not arrive whole."""


class PolicyTooLargeError(PolicyError):
    """A policy that this actor has no room for. The text says what to do."""


class Downlink:
    """Pulls whatever is newer than what it has, from a thread of its own.

    Args:
        stub: On a channel of its own, so that weights never delay steps.
        run_id, spool_id: Of this actor.
        weights: Gets every acting policy.
        requests: Gets every evaluation request with its weights.
        frozen: Gets the part of them that never changes, before the first policy that needs it.
        rewards: Gets every success classifier; None where this actor is not rewarded by one.
        largest: Bytes of the largest policy accepted, its frozen part included.
        say: Told what went wrong, in one line.

    Attributes:
        version: Newest acting version received; None before the first.
        error: Why pulling ended for good; empty while it has not.
    """

    def __init__(
        self,
        stub: rpc.LearnerStub,
        run_id: str,
        spool_id: str,
        weights: Mailbox,
        requests: Mailbox,
        frozen: Mailbox,
        largest: int,
        say: Callable[[str], None],
        rewards: Mailbox | None = None,
    ) -> None:
        self.version: int | None = None
        self.error = ""
        self._stub = stub
        self._run_id = run_id
        self._spool_id = spool_id
        self._weights = weights
        self._requests = requests
        self._frozen = frozen
        self._have_frozen = ""
        self._rewards = rewards
        self._have_reward = ""
        self._largest = largest
        self._say = SaidRarely(say)
        self._evaluation = 0
        self._came = self._total = 0  # bytes of the policy on its way
        self._said_cut = False
        self._stopped = threading.Event()
        self._call: grpc.Call | None = None
        self._thread = threading.Thread(target=self._run, name="downlink", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._call is not None:
            self._call.cancel()
        self._thread.join(1.0)

    def _run(self) -> None:
        give_way()
        backoff = Backoff()
        while not self._stopped.is_set():
            request = pb.PullPolicyRequest(
                run_id=self._run_id,
                spool_id=self._spool_id,
                have_version=0 if self.version is None else self.version + 1,
                have_evaluation=self._evaluation,
                have_frozen=self._have_frozen,
                wants_reward=self._rewards is not None,
                have_reward=self._have_reward,
            )
            call = self._call = self._stub.PullPolicy(request)
            try:
                received = assemble(self._arriving(call), self._largest, self._have_frozen)
                if received is not None:
                    self._put(received)
                    self._said_cut = False
                    backoff.reset()
                    continue
            except grpc.RpcError as error:
                self._say_cut()
                if error.code() in _FATAL and not self._stopped.is_set():
                    self.error = f"the learner gives this actor no policy: {plain_text(error.details())}"
                    return
                if error.code() in _STALLED:
                    continue
                if error.code() not in _AWAY and not self._stopped.is_set():
                    self._say(f"no policy arrives: {plain_text(error.details() or error.code().name)}")
            except PolicyTooLargeError as error:
                call.cancel()
                self.error = str(error)
                return
            except PolicyError as error:
                call.cancel()
                self._say(str(error))
            backoff.wait(self._stopped)

    def _arriving(self, call: Iterator[pb.PolicyChunk]) -> Iterator[pb.PolicyChunk]:
        """The chunks of ``call``, which is cancelled where one does not come in time."""
        self._came = self._total = 0
        while True:
            late = threading.Timer(CHUNK_S, call.cancel)  # type: ignore[attr-defined]
            late.daemon = True
            late.start()
            try:
                chunk = next(call, None)
            finally:
                late.cancel()
            if chunk is None:
                return
            self._came += len(chunk.frozen) + len(chunk.data)
            self._total = self._total or chunk.total_bytes + chunk.frozen_bytes
            yield chunk

    def _say_cut(self) -> None:
        """Tells of a policy that stopped on its way, once until one arrives."""
        if self._total and not (self._said_cut or self._stopped.is_set()):
            self._said_cut = True
            self._say(f"a policy was cut off after {self._came / 1e6:.1f} of {self._total / 1e6:.1f} MB; asking again")

    def _put(self, received: Received) -> None:
        head = received.head
        if head.use == pb.POLICY_USE_REWARD:
            if self._rewards is not None:
                self._rewards.put(received.payload, version=head.version)
                self._have_reward = head.sha256
            return
        if received.frozen:
            self._frozen.put(received.frozen, version=head.version)
            self._have_frozen = head.frozen_sha256
        if head.use == pb.POLICY_USE_EVALUATION:
            self._requests.put(
                received.payload,
                version=head.version,
                evaluation_id=head.evaluation_id,
                episodes=head.evaluation_episodes,
                first_seed=head.evaluation_first_seed,
            )
            self._evaluation = head.evaluation_id
        else:
            self._weights.put(received.payload, version=head.version)
            self.version = head.version


@dataclass(frozen=True)
class Received:
    """One policy as it arrived.

    Attributes:
        head: The first chunk.
        payload: All its data.
        frozen: The part of it that never changes; empty where it has none, or where this actor has it already.
    """

    head: pb.PolicyChunk
    payload: bytes
    frozen: bytes


def assemble(chunks: Iterable[pb.PolicyChunk], largest: int, have_frozen: str = "") -> Received | None:
    """What the chunks of one policy make together; None for an empty stream.

    Raises PolicyTooLargeError where it is larger than ``largest`` bytes, PolicyError where it is incomplete or damaged,
    or comes without a frozen part that it needs and that is not the one with the SHA-256 ``have_frozen``.
    """
    head: pb.PolicyChunk | None = None
    parts: list[bytes] = []
    frozen: list[bytes] = []
    size = 0
    for chunk in chunks:
        if head is None:
            head = chunk
            if (total := head.total_bytes + head.frozen_bytes) > largest:
                raise PolicyTooLargeError(
                    f"the learner's policy has {total} bytes, more than the {largest} that actor.policy_mb "
                    f"allows. Start again with actor.policy_mb={-(-total >> 20)}"
                )
        frozen.append(chunk.frozen)
        parts.append(chunk.data)
        size += len(chunk.frozen) + len(chunk.data)
        if size > head.total_bytes + head.frozen_bytes:
            break
    if head is None:
        return None
    payload = _whole(f"policy version {head.version}", parts, head.total_bytes, head.sha256)
    if not head.frozen_bytes:
        if head.frozen_sha256 not in ("", have_frozen):
            raise PolicyError(f"policy version {head.version} came without the frozen part {head.frozen_sha256}")
        return Received(head, payload, b"")
    what = f"the frozen part of policy version {head.version}"
    return Received(head, payload, _whole(what, frozen, head.frozen_bytes, head.frozen_sha256))


def _whole(what: str, parts: list[bytes], size: int, sha256: str) -> bytes:
    payload = b"".join(parts)
    if len(payload) != size or hashlib.sha256(payload).hexdigest() != sha256:
        raise PolicyError(f"{what} did not arrive whole: {len(payload)} of {size} bytes, or another sha256")
    return payload
