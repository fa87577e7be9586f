"""The spool against a model: whatever is finished is delivered once, in order, wherever its producer dies."""

import multiprocessing
import os
import signal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actor.spool import Spool, SpoolError, SpoolFullError, record_bytes
from episodes.contract import Contract, Feature, FeatureView, Interface, View
from episodes.spool_position import SpoolPosition
from transport import records_pb2 as pb

CONTRACT = Contract(
    Interface(
        "tests/spool",
        (Feature("observation.state", "float32", (3,)), Feature("observation.images.front", "uint8", (40, 50, 3))),
        Feature("action", "float32", (2,), low=(-1.0,), high=(1.0,)),
    ),
    View((FeatureView("observation.images.front", resize=(4, 5)),)),
)


def create(path, capacity=16):
    return Spool.create(
        path,
        run_id="run-a",
        actor="arm",
        fingerprint="f" * 16,
        slot_bytes=record_bytes(CONTRACT),
        capacity=capacity,
    )


def observation(value):
    return [np.full(3, value, np.float32).tobytes(), np.full((4, 5, 3), value % 256, np.uint8).tobytes()]


def start(episode, purpose=pb.PURPOSE_TRAINING):
    return pb.EpisodeStart(episode_id=f"{episode:032x}", purpose=purpose, observation=observation(0))


def step(episode, index):
    return pb.Step(episode_id=f"{episode:032x}", index=index, proposed=[0.1, 0.2], chosen=[0.3, 0.4], sent=[0.5, 0.6])


def finished(begun, value):
    whole = pb.Step()
    whole.CopyFrom(begun)
    whole.rewards.add(source="env", value=1.0)
    return whole, observation(value)


def end(episode, steps):
    return pb.EpisodeEnd(episode_id=f"{episode:032x}", outcome=pb.OUTCOME_TIMEOUT, author="env", steps=steps)


def deliver(spool):
    """Everything not acknowledged, parsed."""
    return [pb.Record.FromString(spool.read(n)) for n in range(spool.acknowledged + 1, spool.produced + 1)]


ACTIONS = st.lists(st.sampled_from(["go", "go", "go", "deliver", "crash", "crash in flight", "reopen"]), max_size=60)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS, lengths=st.lists(st.integers(0, 5), min_size=1, max_size=5), capacity=st.integers(6, 20))
def test_every_finished_step_once_in_order(tmp_path_factory, actions, lengths, capacity):
    path = tmp_path_factory.mktemp("spool") / "spool.bin"
    spool = create(path, capacity)
    finished_steps, delivered, in_flight = [], [], []
    episode = index = 0
    is_open = False
    for action in actions:
        if action == "go" and spool.free >= 4:
            if not is_open:
                episode, index, is_open = episode + 1, 0, True
                spool.start_episode(start(episode))
            elif index < lengths[episode % len(lengths)]:
                begun = step(episode, index)
                spool.begin_step(begun)
                spool.finish_step(*finished(begun, len(finished_steps)))
                finished_steps.append((begun.episode_id, index))
                index += 1
            else:
                spool.end_episode(end(episode, index))
                is_open = False
        elif action == "deliver":
            delivered += deliver(spool)
            spool.acknowledge(spool.produced)
        elif action == "crash in flight" and is_open and spool.free >= 2:
            begun = step(episode, index)
            spool.begin_step(begun)
            in_flight.append((begun.episode_id, index))
            spool = Spool(path)
            assert "interrupted" in spool.recover()
            is_open = False
        elif action == "crash":
            spool = Spool(path)
            said = spool.recover()
            assert bool(said) == is_open
            is_open = False
        elif action == "reopen" and not is_open:
            spool = Spool(path)
            assert spool.recover() == ""
    delivered += deliver(spool)
    position = SpoolPosition()
    for record in delivered:
        position.advance(record)
    whole = [r.step for r in delivered if r.HasField("step") and not r.step.interrupted]
    cut = [r.step for r in delivered if r.HasField("step") and r.step.interrupted]
    assert [(s.episode_id, s.index) for s in whole] == finished_steps
    assert [(s.episode_id, s.index) for s in cut] == in_flight
    assert all(not s.observation and s.chosen for s in cut)
    assert [list(s.observation) for s in whole] == [observation(n) for n in range(len(whole))]
    assert spool.training_steps == len(finished_steps) == position.training_steps
    assert spool.episodes == episode


def _produce_until_killed(path, ready):
    spool = Spool(path)
    episode = 0
    while True:
        episode += 1
        spool.start_episode(start(episode))
        for index in range(7):
            begun = step(episode, index)
            spool.begin_step(begun)
            spool.finish_step(*finished(begun, index))
            ready.value += 1
        spool.end_episode(end(episode, 7))
        spool.acknowledge(max(0, spool.produced - 100))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("steps", [1, 50, 1000])
def test_killed_at_any_moment(tmp_path, steps):
    create(tmp_path / "spool.bin", 256).close()
    context = multiprocessing.get_context("fork")
    ready = context.Value("Q", 0, lock=False)
    child = context.Process(target=_produce_until_killed, args=(tmp_path / "spool.bin", ready))
    child.start()
    while ready.value < steps:
        pass
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    counted = ready.value
    spool = Spool(tmp_path / "spool.bin")
    spool.recover()
    assert not spool.is_open
    assert counted <= spool.training_steps <= counted + 1
    records = deliver(spool)
    assert [r.sequence for r in records] == list(range(spool.acknowledged + 1, spool.produced + 1))
    position = SpoolPosition()
    first = next(i for i, r in enumerate(records) if r.HasField("start"))
    position.sequence = records[first].sequence - 1
    for record in records[first:]:
        position.advance(record)


def test_full_spool_takes_no_step_it_could_not_end(tmp_path):
    spool = create(tmp_path / "spool.bin", 6)
    spool.start_episode(start(1))
    for index in range(4):
        begun = step(1, index)
        spool.begin_step(begun)
        spool.finish_step(*finished(begun, index))
    with pytest.raises(SpoolFullError, match=r"is full: 5 records wait for the learner"):
        spool.begin_step(step(1, 4))
    spool.end_episode(end(1, 4))
    with pytest.raises(SpoolFullError):
        spool.start_episode(start(2))
    spool.acknowledge(3)
    spool.start_episode(start(2))


def test_damage_is_noticed_and_cut(tmp_path):
    spool = create(tmp_path / "spool.bin")
    spool.start_episode(start(1))
    for index in range(3):
        begun = step(1, index)
        spool.begin_step(begun)
        spool.finish_step(*finished(begun, index))
    spool.close()
    data = (tmp_path / "spool.bin").read_bytes()
    place = data.rindex(np.full(3, 1, np.float32).tobytes())
    with (tmp_path / "spool.bin").open("r+b") as file:
        file.seek(place)
        file.write(b"\xff")
    spool = Spool(tmp_path / "spool.bin")
    assert spool.recover() == "2 damaged records were dropped from the spool; episode 00000000 was cut after 1 steps"
    assert [r.WhichOneof("body") for r in deliver(spool)] == ["start", "step", "end"]


def _tear(path, spool, sequence):
    """Spoils a record where it stands."""
    with path.open("r+b") as file:
        file.seek(spool._at(sequence) + 60)
        file.write(b"\xff\xff")


def test_a_record_whose_stores_are_not_all_there_is_not_read(tmp_path):
    path = tmp_path / "spool.bin"
    spool = create(path)
    spool.start_episode(start(1))
    spool.end_episode(end(1, 0))
    at = spool._at(2)
    whole = spool._map[at : at + 80]
    spool._map[at : at + 8] = bytes(8)
    assert spool.read(2) is None
    spool._map[at : at + 80] = whole
    _tear(path, spool, 2)
    assert spool.read(2) is None
    spool._map[at : at + 80] = whole
    assert pb.Record.FromString(spool.read(2)).end.steps == 0


def test_damage_of_what_the_learner_has_says_what_to_do(tmp_path):
    path = tmp_path / "spool.bin"
    spool = create(path)
    spool.start_episode(start(1))
    spool.end_episode(end(1, 0))
    _tear(path, spool, 2)
    dropped = Spool(path)
    assert "1 damaged records were dropped" in dropped.recover()
    with pytest.raises(SpoolError, match=rf"has only 2: a power cut .* Move {tmp_path} away and start again"):
        dropped.acknowledge(3)
    dropped.acknowledge(2)
    _tear(path, dropped, 2)
    with pytest.raises(SpoolError, match=rf"damaged at record 2.* move {tmp_path} away and start again"):
        dropped.recover()


def test_refuses_what_is_no_spool(tmp_path):
    path = tmp_path / "spool.bin"
    path.write_bytes(b"something else" * 100)
    with pytest.raises(SpoolError, match=r"is no spool of this version. Move it away"):
        Spool(path)
    path.unlink()
    create(path).close()
    with path.open("r+b") as file:
        file.truncate(9000)
    with pytest.raises(SpoolError, match=r"is cut short: 9000 bytes"):
        Spool(path)


def test_acknowledging_what_was_never_made_is_an_error(tmp_path):
    spool = create(tmp_path / "spool.bin")
    with pytest.raises(SpoolError, match=r"holds no record 1"):
        spool.read(1)
    with pytest.raises(SpoolError, match=r"record 1 was acknowledged, but this spool has only 0"):
        spool.acknowledge(1)
