"""What Push promises: in sequence, each record once, acknowledged after the append, bounded, told when all is over."""

import asyncio
import os
import queue
import threading
import time

import grpc
import pytest

from transport import records_pb2 as pb
from transport import service_pb2 as sp
from transport import service_pb2_grpc
from transport.channel import open_channel

TOKEN = "token-of-the-tests-0123456789"
SPOOL = "spool-0"


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


@pytest.fixture
def stream(wire):
    wire.join()
    opened = Stream(wire)
    yield opened
    opened.close()
    opened.call.cancel()


def sequences(wire) -> list[int]:
    return [entry.record.sequence for _, entry in wire.log.read()]


def refusal(call) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    return caught.value


def test_records_are_logged_acknowledged_and_drained_in_order(wire, episode):
    wire.join()
    records = episode(1, 5)
    acknowledged = wire.push(wire.batch(records[:3]), wire.batch(records[3:]))
    assert acknowledged == sorted(acknowledged)
    assert acknowledged[-1] == 7
    assert [entry.record for _, entry in wire.log.read()] == records
    drained = wire.ingest.drain()
    assert [entry.record for entry in drained] == records
    assert {(entry.spool_id, entry.actor) for entry in drained} == {(SPOOL, "arm")}
    assert wire.ingest.drained_offset == wire.log.end
    assert wire.ingest.drain() == []


def test_the_aio_channel_carries_the_token_in_every_kind_of_call(wire, episode):
    wire.publisher.publish(0, b"weights")

    async def actor() -> tuple[sp.Status, list[int], list[bytes]]:
        async with open_channel(wire.address, TOKEN, aio=True) as channel:
            stub = service_pb2_grpc.LearnerStub(channel)
            await stub.Join(wire.join_request(), timeout=10)
            status = await stub.GetStatus(sp.GetStatusRequest(), timeout=10)
            push = stub.Push(timeout=10)
            await push.write(wire.batch(episode(1, 5)))
            await push.done_writing()
            acknowledged = [reply.sequence async for reply in push]
            pull = stub.PullPolicy(sp.PullPolicyRequest(run_id=wire.description.run_id), timeout=10)
            return status, acknowledged, [chunk.data async for chunk in pull]

    status, acknowledged, data = asyncio.run(actor())
    assert (status.phase, acknowledged[-1], data) == ("waiting", 7, [b"weights"])


@pytest.mark.parametrize("sync", ["os", "commit"])
def test_nothing_is_acknowledged_before_the_append_and_the_sync(serve, episode, sync):
    wire = serve(sync=sync)
    wire.join()
    may_append, may_sync = threading.Event(), threading.Event()
    append, flush = wire.log.append, wire.log.sync

    def held_append(*args):
        may_append.wait(10)
        return append(*args)

    def held_sync():
        assert may_sync.wait(10) or sync == "os"
        flush()

    wire.log.append, wire.log.sync = held_append, held_sync
    opened = Stream(wire)
    replies: queue.Queue[int] = queue.Queue()

    def read() -> None:
        for reply in opened.call:
            replies.put(reply.sequence)

    reader = threading.Thread(target=read, name="replies", daemon=True)
    reader.start()
    opened.send(wire.batch(episode(1, 2)))
    assert replies.get(timeout=5) == 0
    with pytest.raises(queue.Empty):
        replies.get(timeout=0.1)
    assert wire.ingest.drain() == []
    may_append.set()
    if sync == "commit":
        with pytest.raises(queue.Empty):
            replies.get(timeout=0.1)
        assert wire.ingest.drain() == []
    may_sync.set()
    assert replies.get(timeout=5) == 4
    opened.close()
    reader.join(5)
    assert len(wire.ingest.drain()) == 4


@pytest.mark.parametrize("sync", ["os", "commit"])
def test_an_acknowledgement_follows_the_disk_itself(serve, episode, monkeypatch, sync):
    wire = serve(sync=sync)
    wire.join()
    may_flush, flushed, fdatasync = threading.Event(), [], os.fdatasync

    def held(file: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{file}"))
        may_flush.wait(10)
        fdatasync(file)

    monkeypatch.setattr(os, "fdatasync", held)
    opened = Stream(wire)
    opened.send(wire.batch(episode(1, 2)))
    deadline = time.monotonic() + 5
    while wire.ingest.progress(SPOOL).sequence < 4 and not flushed and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.1)
    assert wire.ingest.progress(SPOOL).sequence == (0 if sync == "commit" else 4)
    assert flushed == ([str(wire.log.folder / "segment-000000.log")] if sync == "commit" else [])
    may_flush.set()
    opened.until(lambda reply: reply.sequence == 4)
    opened.close()


def test_duplicates_are_dropped_silently(wire, episode):
    wire.join()
    first, second = episode(1, 2), episode(2, 2, first_sequence=5)
    wire.push(wire.batch(first))
    assert wire.join().acknowledged == 4
    assert wire.push(wire.batch(first), wire.batch(first[2:] + second), wire.batch(second))[-1] == 8
    assert sequences(wire) == list(range(1, 9))


def test_a_gap_is_refused_naming_the_expected_sequence(wire, episode):
    wire.join()
    records = episode(1, 4)
    error = refusal(wire.stub.Push(iter([wire.batch(records[:2]), wire.batch(records[3:])]), timeout=10))
    assert error.code() == grpc.StatusCode.OUT_OF_RANGE
    assert "records[0] (sequence 4): record.sequence must be 3" in error.details()
    assert "Send again from the acknowledged sequence" in error.details()
    assert wire.join().acknowledged == 2
    assert wire.push(wire.batch(records[2:]))[-1] == 6


def _state_of_one_float(record):
    record.step.observation[0] = bytes(4)


def _nan_action(record):
    record.step.chosen[0] = float("nan")


def _short_action(record):
    record.step.sent[:] = []


def _nan_reward(record):
    record.step.rewards[0].value = float("inf")


def _other_episode(record):
    record.step.episode_id = "e" * 32


def _index(record):
    record.step.index = 7


def _no_body(record):
    record.ClearField("body")


def _start_again(record):
    record.start.episode_id, record.start.purpose = "e" * 32, 1
    record.start.observation.append(bytes(8))


def _end_early(record):
    record.end.episode_id, record.end.outcome, record.end.steps = f"{1:032x}", 1, 9


def _no_outcome(record):
    record.end.episode_id, record.end.outcome, record.end.steps = f"{1:032x}", 0, 1


def _interrupted_with_observation(record):
    record.step.interrupted = True


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (_state_of_one_float, "step.observation 'observation.state' must have 8 bytes (float32 of shape (2,)). Got: 4"),
        (_nan_action, "step.chosen must be from -1 to 1 where the step is not held. Got: [nan]"),
        (_short_action, "step.sent must have 1 numbers. Got: 0"),
        (_nan_reward, "step.rewards['env'] must be from -1e+18 to 1e+18. Got: inf"),
        (_other_episode, f"step.episode_id must be '{1:032x}'. Got: 'eeee"),
        (_index, "step.index must be 1. Got: 7"),
        (_no_body, "record.body must be start, step, end or amendment. Got: none of them"),
        (_start_again, f"came while episode '{1:032x}' of this spool is open"),
        (_end_early, "end.steps must be 1, the steps sent. Got: 9"),
        (_no_outcome, "end.outcome must be SUCCESS, FAILURE, TIMEOUT, DISCARDED or CUT. Got: 0"),
        (_interrupted_with_observation, "step.observation must be empty when interrupted. Got: 1 items"),
    ],
)
def test_a_malformed_record_is_refused_by_field_and_other_streams_go_on(wire, episode, spoil, text):
    wire.join()
    wire.join("other")
    other = Stream(wire)
    other_records = episode(2, 2)
    other.send(wire.batch(other_records[:2], "other"))
    other.until(lambda reply: reply.sequence == 2)
    records = episode(1, 2)
    spoil(records[2])
    error = refusal(wire.stub.Push(iter([wire.batch(records[:2]), wire.batch(records[2:3])]), timeout=10))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert text in error.details()
    assert "records[0] (sequence 3)" in error.details()
    assert wire.join().acknowledged == 2
    other.send(wire.batch(other_records[2:], "other"))
    other.until(lambda reply: reply.sequence == 4)
    other.close()
    assert wire.push(wire.batch(episode(1, 2)[2:]))[-1] == 4


def test_nothing_of_a_batch_with_a_malformed_record_is_taken(wire, episode):
    wire.join()
    records = episode(1, 3)
    records[3].step.index = 9
    refusal(wire.stub.Push(iter([wire.batch(records)]), timeout=10))
    assert wire.join().acknowledged == 0
    assert wire.log.end == 0


def test_a_spool_that_did_not_join_is_refused(wire, episode):
    error = refusal(wire.stub.Push(iter([wire.batch(episode(1, 1))]), timeout=10))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "spool 'spool-0' has not joined this learner: call Join first" in error.details()


def test_one_stream_carries_one_spool(wire, episode):
    wire.join()
    wire.join("other")
    batches = [wire.batch(episode(1, 1)), wire.batch(episode(2, 1), "other")]
    error = refusal(wire.stub.Push(iter(batches), timeout=10))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "spool_id must be 'spool-0' in every batch of this stream. Got: 'other'" in error.details()


def test_a_newer_stream_of_a_spool_takes_over(wire, stream, episode):
    records = episode(1, 4)
    stream.send(wire.batch(records[:2]))
    stream.until(lambda reply: reply.sequence == 2)
    assert wire.push(wire.batch(records[2:]))[-1] == 6
    error = refusal(stream.call)
    assert error.code() == grpc.StatusCode.ABORTED
    assert "a newer Push of this spool took over" in error.details()


def test_several_spools_are_numbered_apart(wire, episode):
    names = ["a", "b", "c"]
    for name in names:
        wire.join(name)
    threads = [
        threading.Thread(target=wire.push, args=[wire.batch(episode(index, 20), name)], name=name)
        for index, name in enumerate(names)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    for name in names:
        mine = [entry.record.sequence for entry in _entries(wire) if entry.spool_id == name]
        assert mine == list(range(1, 23))
    assert wire.log.watermarks() == dict.fromkeys(names, 22)


def test_a_restart_recovers_watermarks_and_open_episodes(serve, episode):
    first = serve()
    first.join("a")
    first.join("b")
    records = episode(1, 6)
    first.push(first.batch(records[:4], "a"))
    first.push(first.batch(episode(2, 1), "b"))
    first.close()
    second = serve()
    assert second.join("a").acknowledged == 4
    assert second.join("b").acknowledged == 3
    assert second.push(second.batch(records, "a"))[-1] == 8
    assert sequences(second) == [1, 2, 3, 4, 1, 2, 3, 5, 6, 7, 8]
    assert [entry.record.sequence for entry in second.ingest.drain()] == [5, 6, 7, 8]


def test_streams_wait_while_the_update_loop_is_behind_and_go_on_after(serve, episode):
    wire = serve(queue_bytes=20_000)
    wire.join()
    records = episode(1, 4000)
    size = 50
    batches = [wire.batch(records[i : i + size]) for i in range(0, len(records), size)]
    done: queue.Queue[list[int]] = queue.Queue()
    threading.Thread(target=lambda: done.put(wire.push(*batches)), name="pusher", daemon=True).start()
    deadline = time.monotonic() + 5
    while not wire.ingest.full and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    largest_batch = max(batch.ByteSize() + 60 * size for batch in batches)
    assert 20_000 < wire.log.end - wire.ingest.drained_offset < 20_000 + largest_batch
    drained = []
    while len(drained) < len(records):
        assert wire.ingest.wait(5)
        drained += wire.ingest.drain(max_entries=70)
    assert [entry.record.sequence for entry in drained] == list(range(1, len(records) + 1))
    assert done.get(timeout=5)[-1] == len(records)
    assert wire.ingest.drained_offset == wire.log.end


def test_credit_reaches_open_streams_and_is_coalesced(wire, stream, episode):
    stream.send(wire.batch(episode(1, 1)))
    stream.until(lambda reply: reply.sequence == 3)
    for credit in range(1, 20_001):
        wire.ingest.set_credit({SPOOL: credit, "unknown": 5})
    told = []
    stream.until(lambda reply: told.append(reply.step_credit) or reply.step_credit == 20_000)
    assert len(told) < 2000
    assert told == sorted(told)


def test_finish_reaches_open_streams_and_later_ones(wire, stream, episode):
    stream.send(wire.batch(episode(1, 1)))
    stream.until(lambda reply: reply.sequence == 3)
    began = time.monotonic()
    wire.ingest.finish("success 20/20")
    reply = stream.until(lambda reply: reply.finished)
    assert time.monotonic() - began < 0.5
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


@pytest.mark.parametrize("spool_id", [SPOOL, "other"])
def test_an_episode_id_is_taken_once_by_all_spools_and_processes(serve, episode, spool_id):
    wire = serve()
    wire.join()
    wire.join("other")
    wire.push(wire.batch(episode(1, 2)))
    wire.push(wire.batch(episode(2, 2, first_sequence=5)[:2]))
    for number in (1, 2):
        sequence = wire.join(spool_id).acknowledged + 1
        records = episode(number, 1, first_sequence=sequence)
        if spool_id == SPOOL:
            wire.push(wire.batch(episode(2, 2, first_sequence=5)[2:]))
            records = episode(number, 1, first_sequence=9)
        error = refusal(wire.stub.Push(iter([wire.batch(records, spool_id)]), timeout=10))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert f"start.episode_id must be a new one. Got: '{number:032x}', which was used before" in error.details()
    wire.close()
    again = serve()
    for _, entry in again.log.read():
        again.ingest.note_earlier(entry)
    again.join("third")
    error = refusal(again.stub.Push(iter([again.batch(episode(1, 1), "third")]), timeout=10))
    assert "which was used before" in error.details()


def test_an_episode_open_at_a_restart_is_no_other_spools(serve, episode):
    wire = serve()
    wire.join()
    wire.push(wire.batch(episode(1, 2)[:2]))
    wire.close()
    again = serve()
    again.join("other")
    error = refusal(again.stub.Push(iter([again.batch(episode(1, 1), "other")]), timeout=10))
    assert "which was used before" in error.details()


def test_no_record_uses_up_the_evaluation_ids_to_come(wire, episode):
    wire.join()
    records = episode(1, 1, purpose=pb.PURPOSE_EVALUATION)
    for evaluation_id, text in ((2**64 - 1, "must be below 2**53"), (2**53 - 1, "must be one asked for")):
        records[0].start.evaluation_id = evaluation_id
        error = refusal(wire.stub.Push(iter([wire.batch(records)]), timeout=10))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert f"start.evaluation_id {text}" in error.details()
        assert f"Got: {evaluation_id}" in error.details()
    records[0].start.evaluation_id = 7
    assert wire.push(wire.batch(records))[-1] == 3


def _entries(wire) -> list[pb.LogEntry]:
    return [entry for _, entry in wire.log.read()]
