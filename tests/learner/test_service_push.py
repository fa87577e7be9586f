"""What Push promises: in sequence, each record once, acknowledged after the append, and bounded."""

import asyncio
import os
import queue
import threading
import time

import grpc
import pytest

from tests.learner.wire import SPOOL, TOKEN, Stream, entries, refusal, sequences
from transport import service_pb2 as sp
from transport import service_pb2_grpc
from transport.channel import open_channel


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
            pull = stub.PullPolicy(sp.PullPolicyRequest(run_id=wire.description.run_id, spool_id=SPOOL), timeout=10)
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
        mine = [entry.record.sequence for entry in entries(wire) if entry.spool_id == name]
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
