"""The thread decides nothing: which transitions a batch holds, and what a checkpoint keeps, is the same without it."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from episodes.outcome import Outcome, Purpose
from learner import prefetch
from learner.batch_memory import BatchMemory
from learner.prefetch import BatchSource
from learner.replay import EmptyReplayError, ReplayBuffer
from learner.replay_rows import row_bytes
from transport import records_pb2 as pb

STATE, IMAGE = "observation.state", "observation.images.front"
CONTRACT = Contract(
    Interface(
        "test",
        (Feature(STATE, "float32", (1,)), Feature(IMAGE, "uint8", (4, 3, 3))),
        Feature("action", "float32", (1,)),
    ),
    View((FeatureView(IMAGE, stack=2),)),
)
THREADS = pytest.mark.parametrize("thread", [False, True])


def image(clock: float) -> np.ndarray:
    """The image of an observation whose state is ``clock``."""
    return ((np.arange(36) * 11 + int(clock) * 5) % 251).astype(np.uint8).reshape(4, 3, 3)


class Actor:
    """Fills a buffer that soon evicts, with observations whose images follow from their states."""

    def __init__(self, rows: int = 24, seed: int = 0):
        self.replay = ReplayBuffer(CONTRACT, capacity_bytes=rows * row_bytes(CONTRACT), n_step=2, seed=seed)
        self.clock = 0
        self.index = -1
        self.episodes = 0

    def observation(self) -> list[bytes]:
        self.clock += 1
        return [np.float32(self.clock).tobytes(), image(self.clock).tobytes()]

    def apply(self, **body) -> None:
        self.replay.apply(pb.LogEntry(record=pb.Record(**body)))

    def step(self) -> None:
        """One step; every seventh ends its episode, every third episode is a demonstration."""
        episode_id = f"{self.episodes:032x}"
        if self.index < 0:
            purpose = Purpose.TRAINING if self.episodes % 3 else Purpose.DEMONSTRATION
            self.apply(start=pb.EpisodeStart(episode_id=episode_id, purpose=purpose, observation=self.observation()))
            self.index = 0
        self.apply(
            step=pb.Step(
                episode_id=episode_id,
                index=self.index,
                chosen=[self.clock],
                observation=self.observation(),
                rewards=[pb.Reward(source="env", value=0.5)],
            )
        )
        self.index += 1
        if self.index == 7:
            self.apply(end=pb.EpisodeEnd(episode_id=episode_id, outcome=Outcome.TIMEOUT, author="env"))
            self.index, self.episodes = -1, self.episodes + 1

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()


def arrays(batch) -> list[bytes]:
    """Every value of a batch."""
    found = []
    batch.mapped(lambda value: found.append(np.asarray(value).tobytes()))
    return found


def check_images(batch) -> None:
    """Each image is that of the state beside it, so no row was written while it was read."""
    for observation in (batch.observation, batch.next_observation):
        for state, shown in zip(observation[STATE][:, 0], observation[IMAGE], strict=True):
            np.testing.assert_array_equal(shown[:, :, 3:], image(state))


@THREADS
@pytest.mark.parametrize("burst", [1, 3])
def test_gives_the_batches_that_replay_gives(thread, burst):
    drawn, plain = Actor(), Actor()
    drawn.steps(40)
    plain.steps(40)
    source = BatchSource(drawn.replay, 8, demo_share=0.25, shift_px=1, thread=thread, burst=burst)
    for _ in range(20):
        assert arrays(source.next()) == arrays(plain.replay.sample(8, 0.25, shift_px=1))
    source.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["steps", "next", "next", "checkpoint"]), min_size=5, max_size=40),
    st.booleans(),
    st.integers(1, 3),
)
def test_process_that_resumes_draws_what_the_one_that_went_on_draws(schedule, thread, burst):
    """At any time of a run that evicts, with batches on the way: also where the resumed one has no thread."""
    actor = Actor()
    actor.steps(15)
    source = BatchSource(actor.replay, 4, shift_px=1, thread=thread, burst=burst)
    try:
        for what in [*schedule, "checkpoint"]:
            if what == "steps":
                actor.steps(5)
            elif what == "next":
                source.next()
            else:
                state = source.rng_state()
                resumed = Actor(seed=99)
                while resumed.clock < actor.clock:
                    resumed.step()
                resumed.replay.set_rng_state(state)
                other = BatchSource(resumed.replay, 4, shift_px=1, thread=not thread, burst=burst)
                for _ in range(4):
                    assert arrays(source.next()) == arrays(other.next())
                other.close()
                source.rewind()
    finally:
        source.close()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=10, max_size=40), st.integers(1, 3))
def test_images_read_in_the_thread_are_those_decided_on(schedule, burst):
    """Steps that evict and rewrite rows are applied while the thread reads."""
    actor = Actor()
    actor.steps(15)
    source = BatchSource(actor.replay, 16, thread=True, burst=burst)
    try:
        for count in schedule:
            check_images(source.next())
            actor.steps(count)
    finally:
        source.close()


@THREADS
@pytest.mark.parametrize("burst", [1, 2])
def test_batch_lasts_until_the_next_but_one(thread, burst):
    actor = Actor()
    actor.steps(40)
    source = BatchSource(actor.replay, 8, thread=thread, burst=burst)
    batch = source.next()
    for i in range(12):
        before = arrays(batch)
        if i % 5 == 4:
            source.rewind()
        following = source.next()
        assert arrays(batch) == before
        batch = following
    source.close()


def test_memory_is_used_again():
    actor = Actor()
    actor.steps(40)
    source = BatchSource(actor.replay, 8)
    places = {source.next().observation[IMAGE].ctypes.data for _ in range(10)}
    assert len(places) == 2


@THREADS
def test_failure_while_reading_surfaces_in_the_loop_and_nothing_hangs(thread, monkeypatch):
    actor = Actor()
    actor.steps(40)
    source = BatchSource(actor.replay, 8, thread=thread, burst=2)
    images = actor.replay._storage.images
    gather = images.gather

    def fail(*arguments):
        raise OSError("the memory is gone")

    monkeypatch.setattr(images, "gather", fail)
    for _ in range(2):
        with pytest.raises(OSError, match="the memory is gone"):
            source.next()
    actor.steps(60)
    monkeypatch.setattr(images, "gather", gather)
    other = Actor()
    other.steps(100)
    assert arrays(source.next()) == arrays(other.replay.sample(8))
    source.close()


def test_row_is_not_written_again_while_it_is_read():
    actor = Actor()
    actor.steps(21)
    draw = actor.replay.draw(8)
    applied = threading.Event()

    def apply() -> None:
        actor.steps(30)
        applied.set()

    writer = threading.Thread(target=apply)
    writer.start()
    assert not applied.wait(0.2)
    check_images(draw.read())
    assert applied.wait(30)
    writer.join()


@THREADS
def test_closed_source_has_no_thread_and_keeps_no_row(thread):
    actor = Actor()
    actor.steps(40)
    before = actor.replay.rng_state()
    source = BatchSource(actor.replay, 8, thread=thread)
    source.next()
    after = BatchSource(Actor().replay, 8)
    source.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]
    assert actor.replay.rng_state() != before
    actor.steps(60)
    with pytest.raises(RuntimeError, match="the source of batches was closed"):
        source.next()
    with pytest.raises(EmptyReplayError, match="no step to draw a batch from"):
        after.next()


def test_burst_keeps_within_its_memory(monkeypatch):
    actor = Actor()
    size = actor.replay.batch_bytes(8)
    monkeypatch.setattr(prefetch, "MOST_BURST_BYTES", 3.5 * size)
    assert BatchSource(actor.replay, 8, burst=20).burst == 3
    monkeypatch.setattr(prefetch, "MOST_BURST_BYTES", 0.5 * size)
    assert BatchSource(actor.replay, 8, burst=20).burst == 1


def test_burst_reaches_a_device_in_one_copy():
    actor = Actor()
    actor.steps(40)
    memory = BatchMemory(2 * actor.replay.batch_bytes(8))
    batches = [actor.replay.sample(8, shift_px=1, into=memory) for _ in range(2)]
    expected = [arrays(batch) for batch in batches]
    rows = [batch.rows.tolist() for batch in batches]
    moved = prefetch._Device("cpu").move(batches, memory)
    memory.clear()
    memory.array((2 * actor.replay.batch_bytes(8),), np.uint8)[...] = 7
    assert [arrays(batch) for batch in moved] == expected
    assert [batch.rows.tolist() for batch in moved] == rows
    pieces = {batch.observation[name].untyped_storage().data_ptr() for batch in moved for name in (STATE, IMAGE)}
    assert len(pieces | {batch.reward.untyped_storage().data_ptr() for batch in moved}) == 1
    assert moved[0].observation[IMAGE].dtype == torch.uint8
    assert moved[0].human.dtype == torch.bool


def test_memory_that_is_used_up_is_named():
    memory = BatchMemory(128)
    memory.array((100,), np.uint8)
    with pytest.raises(ValueError, match="used up: 128 bytes, 128 of them taken, 4 asked for"):
        memory.array((1,), np.float32)


def test_batch_fits_the_bytes_stated_for_it():
    actor = Actor()
    actor.steps(40)
    for size in (1, 8, 33):
        for images in (True, False):
            memory = BatchMemory(actor.replay.batch_bytes(size, images=images))
            actor.replay.sample(size, shift_px=1, images=images, into=memory)
            with pytest.raises(ValueError, match="used up"):
                memory.array((1,), np.uint8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@THREADS
def test_batches_on_the_gpu_are_those_of_the_host(thread):
    drawn, plain = Actor(), Actor()
    drawn.steps(40)
    plain.steps(40)
    source = BatchSource(drawn.replay, 8, shift_px=1, device="cuda", thread=thread, burst=3)
    for _ in range(20):
        moved = source.next().mapped(lambda value: value.cpu().numpy())
        assert arrays(moved) == arrays(plain.replay.sample(8, shift_px=1))
    source.close()
