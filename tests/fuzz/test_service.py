"""Messages from strangers who have the token: each is answered or refused with a status that says why, and no more."""

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.learner.wire import RUN, SPOOL, TOKEN, Wire, episode_records, sequences
from transport import service_pb2 as sp
from transport.channel import open_channel
from transport.push import SERVICE, push_call

FUZZ = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SAID = {"OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE", "NOT_FOUND", "ABORTED", "RESOURCE_EXHAUSTED"}
UNARY = ("Describe", "Join", "AmendEpisode", "GetStatus")


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learner.refusals._MALFORMED", _NoWait())
        patch.setattr("transport.gate.CALLS", (1e9, 1))
        patch.setattr("transport.gate.STREAMS", (1e9, 1))
        served = Wire(tmp_path_factory.mktemp("wire") / "log")
        yield served
        served.close()


class _NoWait:
    def wait_s(self):
        return 0.0


@pytest.fixture(scope="module")
def channel(wire):
    with open_channel(wire.address, TOKEN) as opened:
        yield opened


def status(call):
    try:
        reply = call()
        if hasattr(reply, "__iter__"):
            list(reply)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


@FUZZ
@given(method=st.sampled_from((*UNARY, "PullPolicy")), data=st.binary(max_size=300))
def test_bytes_to_every_call(wire, channel, method, data):
    kind = channel.unary_unary if method in UNARY else channel.unary_stream
    call = kind(f"/{SERVICE}/{method}")
    assert status(lambda: call(data, timeout=20)) in SAID | {"ALREADY_EXISTS"}


MESSAGES = st.builds(
    lambda keep, at, byte, size, cut: _damaged(keep, at, byte, size, cut),
    st.integers(0, 7),
    st.integers(0, 2000),
    st.integers(0, 255),
    st.integers(0, 40),
    st.booleans(),
)


def _damaged(first, at, byte, size, cut):
    """A valid batch from its ``first`` record on, with ``size`` bytes of ``byte`` written over it, or cut there."""
    batch = sp.RecordBatch(run_id=RUN, spool_id=SPOOL, records=episode_records(1, 5)[first:]).SerializeToString()
    at %= len(batch)
    return batch[:at] if cut else batch[:at] + bytes([byte]) * size + batch[at + size :]


@FUZZ
@given(batches=st.lists(MESSAGES | st.binary(max_size=100), min_size=1, max_size=3))
def test_batches_of_every_kind(wire, channel, batches):
    wire.join()
    assert status(lambda: push_call(channel)(iter(batches), timeout=20)) in SAID
    found = sequences(wire)
    assert found == list(range(1, len(found) + 1)), "what was taken is in order, and each once"


@FUZZ
@given(
    request=st.builds(
        sp.PullPolicyRequest,
        run_id=st.sampled_from((RUN, "other", "")),
        spool_id=st.just(SPOOL) | st.text(max_size=20),
        have_version=st.integers(0, 2**64 - 1),
        have_evaluation=st.integers(0, 2**64 - 1),
        have_frozen=st.text(max_size=20),
    )
)
def test_pulls_of_every_kind(wire, channel, request):
    wire.join()
    call = sp.PullPolicyRequest.SerializeToString
    pull = channel.unary_stream(f"/{SERVICE}/PullPolicy", call, sp.PolicyChunk.FromString)
    assert status(lambda: pull(request, timeout=0.05)) in SAID | {"DEADLINE_EXCEEDED"}


def test_it_still_serves(wire):
    assert wire.stub.GetStatus(sp.GetStatusRequest(), timeout=10).run_id == RUN
