"""Who may call the learner, and what its answers to wrong calls say."""

import ipaddress
import socket
import threading
import time

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from learner.ingest import Ingest
from learner.service import LearnerServer
from tests.learner.wire import SPOOL, refused
from transport import service_pb2 as sp
from transport.channel import PROTOCOL
from transport.server import BindError

TOKEN = "token-of-the-tests-0123456789"


def test_reflection_names_the_services(wire):
    reflect = reflection_pb2_grpc.ServerReflectionStub(wire.channel).ServerReflectionInfo
    (reply,) = reflect(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=10)
    names = {service.name for service in reply.list_services_response.service}
    assert names == {"tandem.v1.Learner", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


def test_reflection_describes_the_learner_with_all_it_imports(wire):
    reflect = reflection_pb2_grpc.ServerReflectionStub(wire.channel).ServerReflectionInfo
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="tandem.v1.Learner")
    (reply,) = reflect(iter([request]), timeout=10)
    names = {
        descriptor_pb2.FileDescriptorProto.FromString(data).name
        for data in reply.file_descriptor_response.file_descriptor_proto
    }
    assert names == {"transport/service.proto", "transport/records.proto"}


def test_unknown_method_is_unimplemented(wire):
    error = refused(wire.channel.unary_unary("/tandem.v1.Learner/Nothing"), b"")
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


def test_garbage_instead_of_a_message_is_refused(wire):
    error = refused(wire.channel.unary_unary("/tandem.v1.Learner/Join"), b"\xff\xff\xff")
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "they cannot be decoded" in error.details()
    error = refused(wire.channel.unary_stream("/tandem.v1.Learner/PullPolicy"), b"\xff\xff\xff")
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    error = refused(wire.channel.stream_stream("/tandem.v1.Learner/Push"), iter([b"\xff\xff\xff"]))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "they cannot be decoded" in error.details()
    assert wire.join().acknowledged == 0


def test_oversized_message_is_refused_and_the_server_lives(wire):
    wire.join()
    error = refused(wire.channel.unary_unary("/tandem.v1.Learner/Describe"), bytes(2 << 20))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert wire.join().max_message_bytes == 1 << 20


def test_describe_and_status(wire):
    assert wire.stub.Describe(sp.DescribeRequest(protocol=PROTOCOL), timeout=10) == wire.description
    assert wire.stub.GetStatus(sp.GetStatusRequest(), timeout=10).phase == "waiting"


def test_another_protocol_is_refused(wire):
    error = refused(wire.stub.Describe, sp.DescribeRequest(protocol=99))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert f"protocol: expected {PROTOCOL}, got 99" in error.details()


def test_another_contract_is_refused_naming_key_expected_and_actual(wire):
    request = wire.join_request()
    request.contract.interface.observations[0].shape[:] = [3]
    request.contract.view.features[0].stack = 4
    error = refused(wire.stub.Join, request)
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "observation.state.shape: expected (2,), got (3,); stack: expected 1, got 4" in error.details()
    assert "same version of Tandem" in error.details()


def test_a_malformed_contract_is_an_invalid_argument(wire):
    request = wire.join_request()
    request.contract.interface.observations[0].dtype = "float64"
    error = refused(wire.stub.Join, request)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "must have dtype float32 or uint8. Got: 'float64'" in error.details()


def test_a_contract_of_a_thousand_differences_still_gets_a_status(wire):
    request = wire.join_request()
    request.contract.interface.observations[0].components[:] = ["x" * 100] * 1000
    error = refused(wire.stub.Join, request)
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert len(error.details()) < 5000


@pytest.mark.parametrize("call", ["Join", "Push", "PullPolicy", "AmendEpisode"])
def test_another_run_is_refused_by_name(wire, episode, call):
    request = {
        "Join": wire.join_request(),
        "Push": wire.batch(episode(1, 1)),
        "PullPolicy": sp.PullPolicyRequest(),
        "AmendEpisode": sp.AmendEpisodeRequest(),
    }[call]
    request.run_id = "yesterday"
    error = refused(getattr(wire.stub, call), iter([request]) if call == "Push" else request)
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "run_id: expected 'run-of-the-tests', got 'yesterday'" in error.details()


@pytest.mark.parametrize("field", ["spool_id", "actor"])
@pytest.mark.parametrize("value", ["", "../etc", "a" * 129, "über", "-x"])
def test_identifiers_are_checked(wire, field, value):
    request = wire.join_request()
    setattr(request, field, value)
    error = refused(wire.stub.Join, request)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert f"{field} must be 1 to 128 of" in error.details()


def test_amendment_is_in_the_log_when_the_call_returns(wire, episode):
    wire.join()
    wire.push(wire.batch(episode(7, 3)))
    amendment = sp.AmendEpisodeRequest(run_id=wire.description.run_id)
    amendment.amendment.episode_id = f"{7:032x}"
    amendment.amendment.author = "person"
    amendment.amendment.outcome = 2
    assert wire.stub.AmendEpisode(amendment, timeout=10).applied
    newest = [entry for _, entry in wire.log.read()][-1]
    assert newest.record.amendment == amendment.amendment
    assert (newest.spool_id, newest.actor) == ("", "learner")
    assert wire.ingest.drain()[-1] == newest


def test_amendments_of_unknown_episodes_and_outcomes_are_refused(wire):
    request = sp.AmendEpisodeRequest(run_id=wire.description.run_id)
    request.amendment.episode_id = "f" * 32
    request.amendment.outcome = 3
    error = refused(wire.stub.AmendEpisode, request)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "amendment.outcome must be SUCCESS, FAILURE or DISCARDED. Got: 3" in error.details()
    request.amendment.outcome = 1
    error = refused(wire.stub.AmendEpisode, request)
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert "f" * 32 in error.details()
    request.amendment.episode_id = "no"
    assert "amendment.episode_id must be 32 hexadecimal digits. Got: 'no'" in (
        refused(wire.stub.AmendEpisode, request).details()
    )


def test_an_episode_logged_before_a_restart_can_be_amended(serve, episode):
    first = serve()
    first.join()
    first.push(first.batch(episode(7, 3)))
    first.close()
    second = serve()
    request = sp.AmendEpisodeRequest(run_id=second.description.run_id)
    request.amendment.episode_id = f"{7:032x}"
    request.amendment.outcome = 1
    assert second.stub.AmendEpisode(request, timeout=10).applied


def test_a_second_server_on_the_port_says_that_it_is_taken(wire):
    other = LearnerServer(wire.address, TOKEN, wire.description, wire.ingest, wire.publisher, sp.Status)
    with pytest.raises(BindError, match=rf"{wire.address} is taken by another program .*choose another port"):
        other.start()


def test_a_port_taken_on_one_of_the_addresses_of_localhost_is_taken(wire, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"localhost:{taken.getsockname()[1]}"
        other = LearnerServer(address, TOKEN, wire.description, wire.ingest, wire.publisher, sp.Status)
        with pytest.raises(BindError, match="is taken by another program"):
            other.start()


def test_stops_with_streams_open_and_says_why(wire, episode):
    wire.join()
    stopped = threading.Event()

    def batches():
        yield wire.batch(episode(1, 2))
        stopped.wait(60)

    pushing = wire.stub.Push(batches())
    assert next(pushing).sequence >= 0
    pulling = wire.stub.PullPolicy(sp.PullPolicyRequest(run_id=wire.description.run_id, spool_id=SPOOL))
    time.sleep(0.1)
    wire.server.stop()
    stopped.set()
    for call in (pushing, pulling):
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "the learner is stopping: keep your records" in caught.value.details()
    wire.server.stop()


def test_stop_waits_little_longer_than_its_grace(wire):
    waited = []
    join = wire.server._thread.join
    wire.server._thread.join = lambda timeout: (waited.append(timeout), join(timeout))
    wire.server.stop(0.2)
    assert waited == [pytest.approx(1.2)]


def test_a_name_that_becomes_another_address_after_the_check_is_not_bound(wire, monkeypatch):
    other = LearnerServer("localhost:0", TOKEN, wire.description, wire.ingest, wire.publisher, sp.Status)
    bound = []
    server = grpc.aio.server

    def recorded(**settings):
        made = server(**settings)
        add = made.add_insecure_port
        made.add_insecure_port = lambda address: (bound.append(address), add(address))[1]
        return made

    monkeypatch.setattr(grpc.aio, "server", recorded)
    other.start()
    other.stop(0.1)
    assert bound
    assert all(ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).is_loopback for address in bound)


def test_ingest_says_which_spools_it_has(wire, episode):
    wire.join("spool-a", "left")
    wire.join("spool-b", "right")
    wire.push(wire.batch(episode(1, 3), "spool-b"))
    left, right = wire.ingest.spools()
    assert (left.actor, left.acknowledged, left.training_steps) == ("left", 0, 0)
    assert (right.actor, right.acknowledged, right.training_steps) == ("right", 5, 3)
    assert right.seconds_since_heard < 10
    assert isinstance(wire.ingest, Ingest)


def test_of_two_actors_of_one_name_that_join_at_once_one_is_refused(wire):
    requests = [wire.join_request(spool_id, "arm") for spool_id in ("spool-a", "spool-b")]
    calls = [wire.stub.Join.future(request, timeout=10) for request in requests]
    errors = [error for error in (call.exception() for call in calls) if error is not None]
    assert [error.code() for error in errors] == [grpc.StatusCode.ALREADY_EXISTS]
    assert "another actor named 'arm' serves this learner" in errors[0].details()
    assert "actor.name=NAME" in errors[0].details()
