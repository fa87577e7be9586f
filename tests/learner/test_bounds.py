"""How often, and how much at a time, callers are heard: each bound holds for real callers, and is what holds them."""

import asyncio
import contextlib
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.learner.wire import RUN, SPOOL, TOKEN
from transport import service_pb2 as sp
from transport import service_pb2_grpc
from transport.channel import open_channel
from transport.strangers import Strangers

PER_S, BURST = FEW = (5.0, 10)


@pytest.fixture
def few(serve, monkeypatch):
    """Serves a run on which one bound, by its name, is FEW."""

    def start(name):
        monkeypatch.setattr(name, FEW)
        wire = serve()
        wire.join()
        return wire

    return start


@pytest.fixture
def waits(monkeypatch):
    """How long the server had callers wait, each time."""
    made, sleep = [], asyncio.sleep

    async def noted(delay):
        made.append(delay)
        await sleep(delay)

    monkeypatch.setattr(asyncio, "sleep", noted)
    return made


def heard(call, waits, seconds=1.0):
    """How often a caller was answered who asks again at once, until it had to wait, and in how many seconds."""
    count, began = 0, time.monotonic()
    while time.monotonic() < began + seconds or (not waits and time.monotonic() < began + 60):
        call()
        count += 1
    assert max(waits, default=0.0) > 0, "on a slow machine the count alone would say nothing"
    return count, time.monotonic() - began


def test_calls_with_the_token_are_answered_at_a_bounded_rate_of_all_clients_of_a_host_together(few, waits):
    wire = few("transport.gate.CALLS")
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(open_channel(wire.address, TOKEN)) for _ in range(3)]
        stubs = [service_pb2_grpc.LearnerStub(channel) for channel in channels]
        count, took_s = heard(lambda: [stub.GetStatus(sp.GetStatusRequest(), timeout=60) for stub in stubs], waits)
    assert 3 * count <= BURST + 3 + PER_S * took_s


def test_streams_of_a_host_begin_at_a_bounded_rate(few, waits):
    wire = few("transport.gate.STREAMS")
    wire.publisher.publish(0, b"zero")
    request = sp.PullPolicyRequest(run_id=RUN, spool_id=SPOOL)
    count, took_s = heard(lambda: list(wire.stub.PullPolicy(request, timeout=60)), waits)
    assert count <= BURST + 1 + PER_S * took_s


def test_batches_without_anything_new_are_read_at_a_bounded_rate(few, waits, episode):
    wire = few("learner.push.IDLE_BATCHES")
    batches = [wire.batch([])] * (BURST + 8)
    streams, took_s = heard(lambda: list(wire.stub.Push(iter(batches), timeout=60)), waits)
    assert streams * len(batches) <= streams * (BURST + 1) + PER_S * took_s
    assert wire.push(wire.batch(episode(1, 2)))[-1] == 4, "one that has something is not held back"


def test_health_requests_of_strangers_are_read_a_few_at_a_time(serve, monkeypatch):
    """Each may be as large as the largest message: one more is read when one of those before it has ended."""
    monkeypatch.setattr("transport.strangers.MAX_READING", 2)
    monkeypatch.setattr("transport.strangers.READ_S", 1.0)
    read, request = [], Strangers._request

    def noted(*arguments):
        read.append(arguments)
        return request(*arguments)

    monkeypatch.setattr(Strangers, "_request", noted)
    wire, never = serve(), threading.Event()
    with grpc.insecure_channel(wire.address) as channel:
        check = channel.stream_unary("/grpc.health.v1.Health/Check")
        calls = [check.future(iter(never.wait, True), timeout=60) for _ in range(2)]
        while len(read) < 2:
            time.sleep(0.01)
        reply = health_pb2_grpc.HealthStub(channel).Check.future(health_pb2.HealthCheckRequest(), timeout=60)
        assert reply.result().status == health_pb2.HealthCheckResponse.SERVING
        ended = [call for call in calls if call.done()]
        never.set()
    assert ended
    assert all("must come within" in call.details() for call in ended)
