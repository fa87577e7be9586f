"""Learners to talk to: a served run in this process, whole learner processes, and actors that join them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from episodes.contract import Contract
from episodes.log import EpisodeLog
from learner.ingest import Ingest
from tests.learner.learner_process import TOKEN, Learner
from tests.learner.scripted_actor import ScriptedActor
from tests.learner.wire import Stream, Wire, episode_records, wire_contract
from transport import records_pb2 as pb


@pytest.fixture
def serve(tmp_path) -> Iterator[Callable[..., Wire]]:
    """Starts learner servers on one log folder, one after the other or with other settings; all end with the test."""
    with contextlib.ExitStack() as stack:

        def start(**settings) -> Wire:
            wire = Wire(tmp_path / "log", **settings)
            stack.callback(wire.close)
            return wire

        yield start


@pytest.fixture
def wire(serve) -> Wire:
    return serve()


@pytest.fixture
def stream(wire) -> Iterator[Stream]:
    """An open Push of the served run."""
    wire.join()
    opened = Stream(wire)
    yield opened
    opened.close()
    opened.call.cancel()


@pytest.fixture
def episode() -> Callable[..., list[pb.Record]]:
    return episode_records


@pytest.fixture
def contract() -> Contract:
    return wire_contract()


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Learner]]:
    """Starts learner processes on one run folder; kills what is left of them at the end."""
    learners: list[Learner] = []

    def begin(**stop) -> Learner:
        learners.append(Learner(tmp_path / "run", **stop))
        return learners[-1]

    yield begin
    for learner in learners:
        learner.close()


@pytest.fixture
def join() -> Iterator[Callable[..., ScriptedActor]]:
    """Joins scripted actors to a learner process, each with its first policy."""
    actors: list[ScriptedActor] = []

    def begin(learner: Learner, **settings) -> ScriptedActor:
        actors.append(ScriptedActor(learner.address, TOKEN, **settings))
        actors[-1].wait(lambda: bool(actors[-1].versions))
        return actors[-1]

    yield begin
    for actor in actors:
        actor.close()


@pytest.fixture
def log(tmp_path) -> Iterator[EpisodeLog]:
    with EpisodeLog(tmp_path / "log", run_id="run", interface_fingerprint="f") as opened:
        yield opened


@pytest.fixture
def ingest(log, contract) -> Iterator[Ingest]:
    """Without the wire; the spool ``a`` of the actor ``arm`` has joined."""
    opened = Ingest(log, contract)
    opened.join("a", "arm")
    yield opened
    opened.close()
