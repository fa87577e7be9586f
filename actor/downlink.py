"""From the learner to the control process: the newest policy and evaluation requests, on a channel of their own."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable

import grpc

from actor.shared import Mailbox
from actor.uplink import FATAL, Backoff, SaidRarely
from transport import service_pb2 as pb
from transport import service_pb2_grpc as rpc


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
        largest: Bytes of the largest policy accepted.
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
        largest: int,
        say: Callable[[str], None],
    ) -> None:
        self.version: int | None = None
        self.error = ""
        self._stub = stub
        self._run_id = run_id
        self._spool_id = spool_id
        self._weights = weights
        self._requests = requests
        self._largest = largest
        self._say = SaidRarely(say)
        self._evaluation = 0
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
        backoff = Backoff()
        while not self._stopped.is_set():
            request = pb.PullPolicyRequest(
                run_id=self._run_id,
                spool_id=self._spool_id,
                have_version=0 if self.version is None else self.version + 1,
                have_evaluation=self._evaluation,
            )
            call = self._call = self._stub.PullPolicy(request)
            try:
                received = assemble(call, self._largest)
                if received is not None:
                    self._put(*received)
                    backoff.reset()
                    continue
            except grpc.RpcError as error:
                if error.code() in FATAL and not self._stopped.is_set():
                    self.error = f"the learner gives this actor no policy: {error.details()}"
                    return
                if error.code() is not grpc.StatusCode.UNAVAILABLE and not self._stopped.is_set():
                    self._say(f"no policy arrives: {error.details() or error.code().name}")
            except PolicyTooLargeError as error:
                call.cancel()
                self.error = str(error)
                return
            except PolicyError as error:
                call.cancel()
                self._say(str(error))
            backoff.wait(self._stopped)

    def _put(self, head: pb.PolicyChunk, payload: bytes) -> None:
        if head.use == pb.POLICY_USE_EVALUATION:
            self._requests.put(
                payload,
                version=head.version,
                evaluation_id=head.evaluation_id,
                episodes=head.evaluation_episodes,
                first_seed=head.evaluation_first_seed,
            )
            self._evaluation = head.evaluation_id
        else:
            self._weights.put(payload, version=head.version)
            self.version = head.version


def assemble(chunks: Iterable[pb.PolicyChunk], largest: int) -> tuple[pb.PolicyChunk, bytes] | None:
    """The first chunk and the whole payload; None for an empty stream.

    Raises PolicyTooLargeError where it is larger than ``largest`` bytes, PolicyError where it is incomplete or damaged.
    """
    head: pb.PolicyChunk | None = None
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        if head is None:
            head = chunk
            if head.total_bytes > largest:
                raise PolicyTooLargeError(
                    f"the learner's policy has {head.total_bytes} bytes, more than the {largest} that actor.policy_mb "
                    f"allows. Start again with actor.policy_mb={-(-head.total_bytes >> 20)}"
                )
        parts.append(chunk.data)
        size += len(chunk.data)
        if size > head.total_bytes:
            break
    if head is None:
        return None
    payload = b"".join(parts)
    if size != head.total_bytes or hashlib.sha256(payload).hexdigest() != head.sha256:
        raise PolicyError(
            f"policy version {head.version} did not arrive whole: {size} of {head.total_bytes} bytes, or another sha256"
        )
    return head, payload
