"""An open Push: what the learner is told besides records, and what it tells the actor."""

import threading
import time

import grpc
import pytest

from metrics import names
from tests.learner.wire import SPOOL, TOKEN
from transport import records_pb2 as pb
from transport import service_pb2 as sp
from transport import service_pb2_grpc
from transport.channel import open_channel


def acted_by(records, version):
    for record in records:
        if record.HasField("step"):
            record.step.policy_version = version
    return records


def test_an_unknown_compression_is_refused(wire, episode):
    wire.join()
    batch = wire.batch(episode(1, 1))
    batch.compression = 7
    with pytest.raises(grpc.RpcError) as refused:
        wire.push(batch)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "compression must be one of [0, 1]. Got: 7" in refused.value.details()
    assert wire.push(wire.batch(episode(1, 1)))[-1] == 3


def test_a_compressed_batch_of_garbage_is_refused(wire, episode):
    from transport.push import encode_batch

    wire.join()
    head = sp.RecordBatch(run_id=wire.description.run_id, spool_id="spool-0", compression=sp.COMPRESSION_ZLIB)
    push = wire.channel.stream_stream("/tandem.v1.Learner/Push", None, None)
    with pytest.raises(grpc.RpcError) as refused:
        list(push(iter([encode_batch(head, [b"no record"])]), timeout=10))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_time_from_publication_to_acting_is_measured_on_training_steps(wire, episode):
    wire.join()
    wire.publisher.publish(0, b"zero")
    open_episode = episode(1, 9)
    wire.push(wire.batch(acted_by(open_episode[:3], 0)))
    assert wire.publisher.lag.metrics() == {}
    wire.publisher.publish(1, b"one")
    wire.push(wire.batch(acted_by(open_episode[3:5], 1)))
    first = wire.publisher.lag.metrics()[names.PUBLISH_TO_ACTING_MS_P50]
    assert first > 0
    wire.push(wire.batch(open_episode[5:]))
    wire.publisher.publish(2, b"two")
    evaluation = acted_by(episode(2, 3, first_sequence=12, purpose=pb.PURPOSE_EVALUATION), 2)
    wire.push(wire.batch(evaluation[:2]))
    assert wire.publisher.lag.metrics()[names.PUBLISH_TO_ACTING_MS_P50] == first


def test_credit_reaches_open_streams_and_is_coalesced(wire, stream, episode):
    stream.send(wire.batch(episode(1, 1)))
    stream.until(lambda reply: reply.sequence == 3)
    for credit in range(1, 20_001):
        wire.ingest.set_credit({SPOOL: credit, "unknown": 5})
    told = []
    stream.until(lambda reply: told.append(reply.step_credit) or reply.step_credit == 20_000)
    assert len(told) < 2000
    assert told == sorted(told)


def test_credit_is_told_at_once_when_the_update_loop_waits(wire, stream, episode, monkeypatch):
    monkeypatch.setattr("learner.servicer.TELL_EVERY_S", 60.0)
    stream.send(wire.batch(episode(1, 1)))
    stream.until(lambda reply: reply.sequence == 3)
    wire.ingest.drain()
    wire.ingest.set_credit({SPOOL: 7})
    assert not wire.ingest.wait(0.01)
    assert stream.until(lambda reply: reply.step_credit).step_credit == 7


def test_finish_reaches_open_streams_and_later_ones(wire, stream, episode):
    stream.send(wire.batch(episode(1, 1)))
    stream.until(lambda reply: reply.sequence == 3)
    wire.ingest.finish("success 20/20")
    reply = stream.until(lambda reply: reply.finished)
    assert (reply.sequence, reply.finished_reason) == (3, "success 20/20")
    wire.join("late")
    (late,) = wire.stub.Push(iter([wire.batch([], "late")]), timeout=10)
    assert late.finished
    wire.server.stop()
    assert list(stream.call) == []
    assert stream.call.code() == grpc.StatusCode.OK


def test_status_of_a_spool_follows_its_stream(wire, stream, episode):
    records = episode(1, 3)
    for record in records[1:4]:
        record.step.policy_version = 9
    assert not wire.ingest.spools()[0].connected
    stream.send(wire.batch(records[:4]))
    stream.until(lambda reply: reply.sequence == 4)
    (spool,) = wire.ingest.spools()
    assert (spool.connected, spool.policy_version, spool.training_steps) == (True, 9, 3)
    stream.close()
    list(stream.call)
    deadline = time.monotonic() + 5
    while wire.ingest.spools()[0].connected and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not wire.ingest.spools()[0].connected


def test_a_cut_connection_leaves_no_stream_behind(wire, episode):
    wire.join()
    other = open_channel(wire.address, TOKEN)
    wait = threading.Event()

    def batches():
        yield wire.batch(episode(1, 1))
        wait.wait(10)

    call = service_pb2_grpc.LearnerStub(other).Push(batches())
    next(reply for reply in call if reply.sequence == 3)
    other.close()
    wait.set()
    deadline = time.monotonic() + 5
    while wire.ingest.spools()[0].connected and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not wire.ingest.spools()[0].connected
    assert wire.join().acknowledged == 3


def test_an_idle_actor_is_told_at_once_that_one_with_a_greater_claim_came_back(wire):
    """Nothing else happens that could wake its stream: no record, no credit."""
    ended = threading.Event()

    def nothing():
        yield wire.batch([])
        ended.wait(60)

    def come_back(spool_id, claim):
        join = wire.join_request(spool_id, "arm")
        join.claim = claim
        wire.stub.Join(join, timeout=10)

    come_back(SPOOL, 1)
    told = wire.stub.Push(nothing(), timeout=60)
    assert not next(told).replaced
    come_back("newer", 2)
    assert next(told).replaced
    ended.set()
