"""From the spool to the learner: batches in flight up to a window, cumulative acknowledgements, again after a cut."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import grpc

from actor.shared import Board
from actor.spool import Spool, SpoolError
from episodes.image_codec import ImageCodec
from transport import service_pb2 as pb
from transport import service_pb2_grpc as rpc
from transport.channel import UNARY_TIMEOUT_S
from transport.plain_text import plain_text
from transport.priority import give_way
from transport.push import encode_batch, push_call

FATAL = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
)
UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
NAME_WAIT_S = 5.0
"""How long a name may be another's before it counts as lost: one that was killed is gone before [s]."""
_MOST_RECORDS = 512
_POLL_S = 0.01
_WHOLE_AFTER_S = 2.0


class Backoff:
    """Waits between attempts, doubling with jitter so that many actors do not come back at once.

    They stay short, up to ``most_s``, for the first ``patient_s`` of an absence: a learner that is started again should
    not be waited for longer than it takes to start. Then they grow on, up to ``later_s``.
    """

    def __init__(
        self, first_s: float = 0.05, most_s: float = 0.4, later_s: float = 2.0, patient_s: float = 120.0
    ) -> None:
        self._first_s, self._most_s, self._later_s, self._patient_s = first_s, most_s, later_s, patient_s
        self.reset()

    def reset(self) -> None:
        self._next_s, self._since_s = self._first_s, float("inf")

    def wait(self, stopped: threading.Event) -> None:
        now_s = time.monotonic()
        self._since_s = min(self._since_s, now_s)
        stopped.wait(self._next_s * random.uniform(0.5, 1.0))
        most_s = self._most_s if now_s - self._since_s < self._patient_s else self._later_s
        self._next_s = min(2 * self._next_s, most_s)


class SaidRarely:
    """Passes a line on unless the same one was passed on within the last ``every_s``."""

    def __init__(self, say: Callable[[str], None], every_s: float = 10.0) -> None:
        self._say, self._every_s = say, every_s
        self._due_s: dict[str, float] = {}

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        self._due_s = {line: due for line, due in self._due_s.items() if due > now}
        if text not in self._due_s:
            self._due_s[text] = now + self._every_s
            self._say(text)


class Uplink:
    """Delivers a spool from a thread of its own.

    Args:
        channel: Carries the token.
        spool: Read and trimmed here only.
        join: What to join with; run and spool are those of the spool.
        board: Gets the step credit and whether the learner is there.
        say: Told, in one line, when the connection comes and goes.
        images: Compresses images on their way; None to send them as they are.
        look: Called whenever the learner does not answer, to find out why; returns at once.

    Attributes:
        error: Why delivery ended for good; empty while it has not.
        finished: Why the learner says the run is over; None while it goes on.
        replaced: Whether another actor has the name now, as the learner says, or refused this one's for NAME_WAIT_S.
        connected: Whether the learner takes records now.
        fault: Why the learner stores nothing now, in its own words, as plain text; empty while it does or is away.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        spool: Spool,
        join: pb.JoinRequest,
        board: Board,
        say: Callable[[str], None],
        images: ImageCodec | None = None,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self.error = self.fault = ""
        self.finished: str | None = None
        self.connected = self.replaced = False
        self._stub = rpc.LearnerStub(channel)
        self._push_batches = push_call(channel)
        self._spool = spool
        self._join = join
        self._board = board
        self._say = SaidRarely(say)
        self._images = images
        self._look = look
        self._stopped = threading.Event()
        self._last = threading.Event()
        self._acknowledged = threading.Event()
        self._call: grpc.Call | None = None
        self._in_flight: deque[tuple[int, int]] = deque()
        self._partial = (0, 0.0)  # a record seen before all of it was there, and until when that may last
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Delivers what is in the spool, which no longer grows, for at most ``timeout_s``, and stops."""
        self._last.set()
        give_up = time.monotonic() + timeout_s
        while self._spool.undelivered and self._thread.is_alive() and time.monotonic() < give_up:
            time.sleep(0.01)
        self._thread.join(max(0.0, min(0.5, give_up - time.monotonic())))
        self._stopped.set()
        if self._call is not None:
            self._call.cancel()
        self._thread.join(1.0)

    def _run(self) -> None:
        give_way()
        backoff, lost_s = Backoff(), float("inf")
        while not self._stopped.is_set() and not (self._last.is_set() and not self._spool.undelivered):
            try:
                reply = self._stub.Join(self._join, timeout=UNARY_TIMEOUT_S)
                lost_s = float("inf")
                self._resume(reply)
                self._push(reply, backoff)
            except grpc.RpcError as error:
                if self._stopped.is_set() or self.error:
                    return
                if error.code() in FATAL:
                    self.error = f"the learner refuses this actor: {plain_text(error.details())}"
                    return
                if error.code() is grpc.StatusCode.ALREADY_EXISTS:
                    lost_s = min(lost_s, time.monotonic() + NAME_WAIT_S)
                    self.replaced = time.monotonic() >= lost_s
                why = plain_text(error.details() or error.code().name)
                if self.connected:
                    self._say(f"lost the learner ({why}); steps wait in the spool")
                elif error.code() is not grpc.StatusCode.UNAVAILABLE:
                    self._say(f"the learner does not take this actor's steps now: {why}")
                if error.code() in UNANSWERED:
                    self._look()
            except SpoolError as error:
                self.error = str(error)
                return
            finally:
                self._set_connected(False)
            backoff.wait(self._stopped)

    def _resume(self, reply: pb.JoinReply) -> None:
        """Takes up from what the learner's log holds. Raises SpoolError where that is less than it acknowledged."""
        if reply.acknowledged < self._spool.acknowledged:
            raise SpoolError(
                f"the learner's log ends at record {reply.acknowledged} of this spool, but it had acknowledged "
                f"{self._spool.acknowledged}: its run folder is an older copy. Restore it, or start a new run"
            )
        self._spool.acknowledge(reply.acknowledged)
        self.replaced = reply.replaced

    def _push(self, reply: pb.JoinReply, backoff: Backoff) -> None:
        done = threading.Event()
        self._in_flight.clear()
        call = self._push_batches(self._requests(reply, done))
        self._call = call
        try:
            for acknowledgement in call:
                backoff.reset()
                self._set_connected(True)
                self._take(acknowledgement)
        finally:
            done.set()
            self._acknowledged.set()

    def _take(self, acknowledgement: pb.Acknowledgement) -> None:
        self._spool.acknowledge(acknowledgement.sequence)
        while self._in_flight and self._in_flight[0][0] <= acknowledgement.sequence:
            self._in_flight.popleft()
        self._board.comms["step_credit"] = acknowledgement.step_credit
        self.replaced = acknowledgement.replaced
        if acknowledgement.finished:
            self.finished = plain_text(acknowledgement.finished_reason)
        self._set_fault(plain_text(acknowledgement.fault))
        self._acknowledged.set()

    def _requests(self, reply: pb.JoinReply, done: threading.Event) -> Iterator[bytes]:
        """The batches. What cannot be read ends delivery: gRPC would swallow the error and the stream begin again."""
        try:
            yield from self._batches(reply, done)
        except SpoolError as error:
            self.error = str(error)
            raise
        except Exception as error:
            self.error = (
                f"{self._spool.path} cannot be read: {type(error).__name__}: {error}. "
                f"Move {self._spool.path.parent} away and start again."
            )
            raise

    def _batches(self, reply: pb.JoinReply, done: threading.Event) -> Iterator[bytes]:
        """Batches from the first record not acknowledged, as long as the stream lives; called by gRPC's own thread.

        The first is empty: it says whose stream this is, and the answer carries the step credit.
        """
        spool = self._spool
        limit = max(1, min(reply.max_message_bytes or 1 << 20, 4 << 20, reply.window_bytes or 4 << 20) // 2)
        window = reply.window_bytes or 4 << 20
        following = spool.acknowledged + 1
        compression = pb.COMPRESSION_NONE if self._images is None else pb.COMPRESSION_ZLIB
        head = pb.RecordBatch(run_id=spool.run_id, spool_id=spool.spool_id, compression=compression)
        yield head.SerializeToString()
        while not done.is_set():
            following = max(following, spool.acknowledged + 1)  # what the stream before sent is still being logged
            flying = sum(size for _, size in list(self._in_flight))
            produced = spool.produced
            if following > produced:
                if self._last.is_set():
                    return
            elif not flying or flying < window:
                batch: list[memoryview] = []
                size = 0
                while following <= produced and size < limit and len(batch) < _MOST_RECORDS:
                    payload = spool.read(following)
                    if payload is None:
                        self._await_whole(following)
                        break
                    if size and (size + len(payload) > limit or flying + size + len(payload) > window):
                        break
                    batch.append(payload)
                    size += len(payload)
                    following += 1
                if size:
                    encoded = encode_batch(head, batch if self._images is None else map(self._images.compress, batch))
                    if spool.acknowledged >= following - len(batch):
                        continue  # its room was free before it was copied
                    self._in_flight.append((following - 1, size))
                    yield encoded
                    continue
            self._acknowledged.wait(_POLL_S)
            self._acknowledged.clear()

    def _await_whole(self, sequence: int) -> None:
        """Raises SpoolError for a record that has been there for long and is still not whole."""
        if self._partial[0] != sequence:
            self._partial = sequence, time.monotonic() + _WHOLE_AFTER_S
        elif time.monotonic() > self._partial[1]:
            raise SpoolError(
                f"{self._spool.path} is damaged at record {sequence}. "
                "Start the actor again: records from there on are dropped."
            )

    def _set_fault(self, fault: str) -> None:
        if fault and not self.fault:
            self._say(f"the learner cannot store steps: {fault}")
        elif self.fault and not fault:
            self._say("the learner stores steps again")
        self.fault = fault

    def _set_connected(self, connected: bool) -> None:
        if connected and not self.connected:
            self._say("connected to the learner")
        self.connected = connected
        if not connected:
            self.fault = ""
        self._board.comms["connected"] = connected
