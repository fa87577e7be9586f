"""PullPolicy: the newest at that moment, in bounded chunks; an evaluation for one spool alone."""

import contextlib
import hashlib
import os
import queue
import threading
import time
import weakref

import grpc
import pytest

from learner.pull import PULLS_OF_A_SPOOL, Pull
from transport import service_pb2 as sp

MIB = 1 << 20


@pytest.fixture
def wire(wire):
    """One that the spool of the tests has joined."""
    wire.join()
    return wire


def pull(wire, have_version: int = 0, have_evaluation: int = 0, spool_id: str = "spool-0"):
    return wire.stub.PullPolicy(
        sp.PullPolicyRequest(
            run_id=wire.description.run_id,
            spool_id=spool_id,
            have_version=have_version,
            have_evaluation=have_evaluation,
        ),
        timeout=10,
    )


def test_version_0_is_newer_than_none_and_comes_in_chunks_of_at_most_a_mebibyte(wire):
    payload = os.urandom(2 * MIB + 17)
    wire.publisher.publish(0, payload)
    first, *rest = list(pull(wire))
    assert (first.use, first.version, first.total_bytes) == (sp.POLICY_USE_ACTING, 0, len(payload))
    assert first.sha256 == hashlib.sha256(payload).hexdigest()
    assert [len(chunk.data) for chunk in (first, *rest)] == [MIB, MIB, 17]
    assert b"".join(chunk.data for chunk in (first, *rest)) == payload
    assert {chunk.sha256 for chunk in rest} == {""}


def test_waits_until_something_newer_exists(wire):
    wire.publisher.publish(0, b"zero")
    got: queue.Queue[list[sp.PolicyChunk]] = queue.Queue()
    threading.Thread(target=lambda: got.put(list(pull(wire, have_version=1))), name="puller", daemon=True).start()
    with pytest.raises(queue.Empty):
        got.get(timeout=0.2)
    wire.publisher.publish(1, b"one")
    (chunk,) = got.get(timeout=60)
    assert (chunk.version, chunk.data) == (1, b"one")


def test_a_slow_puller_gets_the_newest_not_each(wire):
    payload = os.urandom(40 * MIB)
    wire.publisher.publish(0, payload)
    slow = pull(wire)
    assert next(slow).version == 0
    for version in range(1, 50):
        wire.publisher.publish(version, b"%d" % version)
    assert sum(len(chunk.data) for chunk in slow) == len(payload) - MIB
    (newest,) = list(pull(wire, have_version=1))
    assert (newest.version, newest.data) == (49, b"49")


def test_an_evaluation_goes_to_exactly_one_spool_and_once(wire):
    for spool_id in "ab":
        wire.join(spool_id)
    wire.publisher.publish(3, b"acting")
    wire.publisher.request_evaluation(1, 2, b"average", episodes=20, first_seed=77, spool_id="b")
    (acting,) = list(pull(wire, spool_id="a"))
    assert (acting.use, acting.version) == (sp.POLICY_USE_ACTING, 3)
    (evaluation,) = list(pull(wire, have_version=4, spool_id="b"))
    assert (evaluation.use, evaluation.version, evaluation.data) == (sp.POLICY_USE_EVALUATION, 2, b"average")
    assert (evaluation.evaluation_id, evaluation.evaluation_episodes, evaluation.evaluation_first_seed) == (1, 20, 77)
    for spool_id, have_evaluation in (("a", 0), ("b", 1)):
        waiting = pull(wire, have_version=4, have_evaluation=have_evaluation, spool_id=spool_id)
        assert comes_nothing(waiting)


def comes_nothing(call) -> bool:
    got: queue.Queue[sp.PolicyChunk] = queue.Queue()

    def read() -> None:
        with contextlib.suppress(grpc.RpcError):
            got.put(next(call))

    reader = threading.Thread(target=read, name="reader", daemon=True)
    reader.start()
    time.sleep(0.1)
    call.cancel()
    reader.join(5)
    return got.empty()


def test_a_request_wakes_the_waiting_spool(wire):
    wire.publisher.publish(0, b"acting")
    got: queue.Queue[list[sp.PolicyChunk]] = queue.Queue()
    threading.Thread(target=lambda: got.put(list(pull(wire, have_version=1))), name="puller", daemon=True).start()
    time.sleep(0.1)
    wire.publisher.request_evaluation(5, 0, b"average", episodes=1, first_seed=0, spool_id="spool-0")
    (chunk,) = got.get(timeout=5)
    assert chunk.evaluation_id == 5


def test_a_cancelled_puller_leaves_nothing_waiting(wire):
    waiting = pull(wire)
    time.sleep(0.1)
    waiting.cancel()
    deadline = time.monotonic() + 5
    while wire.server._servicer._pulls and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not wire.server._servicer._pulls


def stalled(wire, version: int):
    """A call that has the first chunk of ``version``, never reads on, and what of it the learner keeps in memory."""
    wire.publisher.publish(version, bytes(40 * MIB))
    call = wire.stub.PullPolicy(sp.PullPolicyRequest(run_id=wire.description.run_id, spool_id="spool-0"))
    assert next(call).version == version
    return call, weakref.ref(wire.publisher.newer("spool-0", 0, 0))


def until(condition, timeout_s: float = 60.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_a_policy_that_is_not_taken_in_time_leaves_the_memory(wire, monkeypatch):
    monkeypatch.setattr("learner.pull.CHUNK_S", 2.0)
    call, kept = stalled(wire, 0)
    wire.publisher.publish(1, b"one")
    assert until(lambda: kept() is None)
    with pytest.raises(grpc.RpcError) as ended:
        list(call)
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "a chunk of the policy was not taken within 2 s" in ended.value.details()
    monkeypatch.setattr("learner.pull.CHUNK_S", 60.0)
    assert [chunk.data for chunk in pull(wire)] == [b"one"]


def test_a_policy_of_which_not_even_the_first_chunk_is_taken_in_time_ends_with_that_status(wire, monkeypatch):
    monkeypatch.setattr("learner.pull.CHUNK_S", 0.0)
    wire.publisher.publish(0, bytes(40 * MIB))
    with pytest.raises(grpc.RpcError) as ended:
        list(pull(wire))
    assert "a chunk of the policy was not taken within 0 s" in ended.value.details()


def test_of_the_calls_of_a_spool_the_newest_go_on(wire):
    stalls = [stalled(wire, version) for version in range(3)]
    wire.publisher.publish(3, b"three")
    assert until(lambda: stalls[0][1]() is None)
    assert all(kept() is not None for _, kept in stalls[1:])
    with pytest.raises(grpc.RpcError) as ended:
        list(stalls[0][0])
    assert ended.value.code() is grpc.StatusCode.ABORTED
    assert sum(len(chunk.data) for chunk in stalls[2][0]) == 39 * MIB
    assert [chunk.data for chunk in pull(wire)] == [b"three"]
    stalls[1][0].cancel()


def test_a_call_that_is_superseded_as_something_is_published_ends_all_the_same(wire, monkeypatch):
    """Both in one turn of the event loop, the policy first: its time to be taken is no reprieve."""
    monkeypatch.setattr("learner.pull.CHUNK_S", 3600.0)
    wire.publisher.publish(0, b"zero")
    request = sp.PullPolicyRequest(run_id=wire.description.run_id, spool_id="spool-0", have_version=1)
    older = wire.stub.PullPolicy(request)
    pulls = wire.server._servicer._pulls
    assert until(lambda: len(pulls) == 1)

    def supersede() -> None:
        pulls.wake()
        with contextlib.ExitStack() as newer:
            for _ in range(PULLS_OF_A_SPOOL):
                newer.enter_context(pulls._opened(Pull(), "spool-0"))

    wire.publisher._on_change = lambda: None  # ``supersede`` wakes the call
    wire.publisher.publish(1, bytes(40 * MIB))
    wire.server._loop.call_soon_threadsafe(supersede)
    assert until(lambda: not len(pulls)), "it is sent to one that does not read"
    with pytest.raises(grpc.RpcError) as ended:
        list(older)
    assert ended.value.code() is grpc.StatusCode.ABORTED


def test_a_spool_that_has_not_joined_is_refused_and_holds_no_place(wire):
    for spool_id in ("other", "", "x" * (MIB // 2)):
        with pytest.raises(grpc.RpcError) as ended:
            list(pull(wire, spool_id=spool_id))
        assert ended.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "has not joined this learner: call Join first" in ended.value.details()
        assert len(ended.value.details()) < 300
    assert not wire.server._servicer._pulls
