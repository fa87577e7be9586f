"""Callers without the token: what they get, how much of it, and that nobody else loses by it."""

import contextlib
import socket
import struct
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.learner.wire import refused
from transport import service_pb2 as sp
from transport import service_pb2_grpc
from transport.channel import PROTOCOL, open_channel
from transport.strangers import MAX_WATCHES, STRANGERS


@pytest.mark.parametrize(
    ("token", "got"), [(None, "got none"), ("another-token-0123456789", "got another one"), ("", "got another one")]
)
def test_every_call_without_the_token_is_refused_and_harms_nobody(wire, episode, token, got):
    wire.join()
    channel = grpc.insecure_channel(wire.address) if token is None else open_channel(wire.address, token)
    with channel:
        stub = service_pb2_grpc.LearnerStub(channel)
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        errors = [
            refused(stub.Describe, sp.DescribeRequest(protocol=PROTOCOL)),
            refused(stub.Join, wire.join_request()),
            refused(stub.Push, iter([wire.batch(episode(1, 2))])),
            refused(stub.PullPolicy, sp.PullPolicyRequest()),
            refused(stub.AmendEpisode, sp.AmendEpisodeRequest()),
            refused(stub.GetStatus, sp.GetStatusRequest()),
            refused(reflect, iter([reflection_pb2.ServerReflectionRequest(list_services="")])),
            refused(channel.unary_unary("/tandem.v1.Learner/Nothing"), b""),
        ]
    for error in errors:
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED
        assert "authorization: Bearer TOKEN" in error.details()
        assert got in error.details()
        assert "TANDEM_TOKEN" in error.details()
        assert "the file of the learner's machine that its join line names (learner.token_path=...;" in error.details()
    assert wire.log.end == 0
    assert wire.push(wire.batch(episode(1, 2)))[-1] == 4


def test_health_needs_no_token(wire):
    with grpc.insecure_channel(wire.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "tandem.v1.Learner"):
            reply = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_health_watches_without_a_token_are_bounded(wire):
    with grpc.insecure_channel(wire.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest(), timeout=10) for _ in range(MAX_WATCHES)]
        assert {next(watch).status for watch in watches} == {health_pb2.HealthCheckResponse.SERVING}
        error = refused(health.Watch, health_pb2.HealthCheckRequest())
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "use Check" in error.details()
        wire.server.stop()
        assert [reply.status for reply in watches[0]] == [health_pb2.HealthCheckResponse.NOT_SERVING]


def test_bytes_that_are_no_http2_harm_nobody(wire):
    port = int(wire.address.rpartition(":")[2])
    for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(100_000), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 4096):
        with socket.create_connection(("localhost", port), timeout=5) as connection, contextlib.suppress(OSError):
            connection.sendall(data)
            connection.recv(1024)
    assert wire.join().acknowledged == 0


def test_whoever_floods_without_the_token_is_refused_at_a_bounded_rate(wire):
    per_s, burst = STRANGERS
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(open_channel(wire.address, "another-token-0123456789")) for _ in range(4)]
        stubs = [service_pb2_grpc.LearnerStub(channel) for channel in channels for _ in range(60)]
        request, refused, began = sp.DescribeRequest(protocol=PROTOCOL), 0, time.monotonic()
        calls = [stub.Describe.future(request, timeout=60) for stub in stubs]
        assert wire.join().acknowledged == 0
        while not refused or time.monotonic() < began + 1.5:
            for i, call in enumerate(calls):
                if call.done():
                    refused += call.code() == grpc.StatusCode.UNAUTHENTICATED
                    calls[i] = stubs[i].Describe.future(request, timeout=60)
            time.sleep(0.01)
        assert 0 < refused <= burst + 1 + per_s * (time.monotonic() - began)


def test_strangers_who_never_send_what_they_call_with_take_nobodys_place(serve, monkeypatch):
    """Headers alone, of more calls than the service has places for."""
    monkeypatch.setattr("learner.service.MAX_CONCURRENT_CALLS", 24)
    monkeypatch.setattr("transport.strangers.MAX_STRANGERS", 8)
    wire, never = serve(), threading.Event()
    with grpc.insecure_channel(wire.address) as channel:
        check = channel.stream_unary("/grpc.health.v1.Health/Check")
        calls = [check.future(iter(never.wait, True), timeout=60) for _ in range(40)]
        codes = {call.code() for call in calls}
        assert any("must come within" in call.details() for call in calls)
        assert wire.stub.Describe(sp.DescribeRequest(protocol=PROTOCOL), timeout=10) == wire.description
        never.set()
    # The first are read in vain; the others are turned away.
    assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_little_of_a_call_is_taken_before_it_is_read(wire):
    with socket.create_connection(("127.0.0.1", int(wire.address.rpartition(":")[2])), timeout=60) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
        with connection.makefile("rb") as received:
            head = received.read(9)
            assert head[3] == 4, "SETTINGS"
            settings = dict(struct.iter_unpack(">HI", received.read(int.from_bytes(head[:3], "big"))))
    assert settings[4] <= 1 << 20, "its initial window"
