"""The log is read for unknown episodes once at most, whoever asks for how many of them."""

import threading

import grpc
import pytest

from episodes.log import EpisodeLog
from tests.learner.wire import RUN
from transport import service_pb2 as sp


@pytest.fixture
def reads(serve, episode, monkeypatch):
    """A served run whose log holds an episode of an earlier process, and how often that log is read from now on."""
    first = serve()
    first.join()
    first.push(first.batch(episode(7, 3)))
    first.close()
    wire = serve()
    read, begun, twice = wire.log.read, [], threading.Event()

    def counted():
        begun.append(1)
        if len(begun) > 1:
            twice.set()
        twice.wait(1.0)  # what others would begin meanwhile
        return read()

    monkeypatch.setattr(wire.log, "read", counted)
    return wire, begun


def amend_unknown(wire, count=20):
    """Asks to amend so many at once."""
    calls = []
    for number in range(count):
        request = sp.AmendEpisodeRequest(run_id=RUN)
        request.amendment.episode_id = f"{1000 + number:032x}"
        request.amendment.outcome = 1
        calls.append(wire.stub.AmendEpisode.future(request, timeout=60))
    assert {call.exception().code() for call in calls} == {grpc.StatusCode.NOT_FOUND}


def test_amendments_of_many_unknown_episodes_at_once_read_the_log_once(reads):
    wire, begun = reads
    amend_unknown(wire)
    amend_unknown(wire)
    assert len(begun) == 1


def test_and_not_at_all_once_its_start_has_noted_all_of_it(reads):
    wire, begun = reads
    for _, entry in EpisodeLog.read(wire.log):
        wire.ingest.note_earlier(entry)
    amend_unknown(wire)
    assert not begun
