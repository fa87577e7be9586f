"""Compressed images come back bit for bit, and what claims to be one is bounded."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes.contract import Feature
from episodes.image_codec import ImageCodec
from episodes.spool_position import RecordError
from transport import records_pb2 as pb

FEATURES = (
    Feature("observation.state", "float32", (3,)),
    Feature("observation.images.front", "uint8", (20, 24, 3)),
    Feature("observation.images.wrist", "uint8", (8, 4, 3)),
)
SIZES = [f.nbytes for f in FEATURES]
CODEC = ImageCodec(FEATURES)


def step_of(observation):
    return pb.Record(sequence=7, step=pb.Step(episode_id="a" * 32, index=5, observation=observation, time_ns=99))


def observation(seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, size, np.uint8).tobytes() for size in SIZES]


@given(seed=st.integers(0, 2**32 - 1), flat=st.booleans())
def test_steps_and_starts_come_back_as_they_were(seed, flat):
    seen = [bytes(size) for size in SIZES] if flat else observation(seed)
    start = pb.Record(sequence=1, start=pb.EpisodeStart(episode_id="b" * 32, observation=seen))
    for record in (step_of(seen), start):
        payload = record.SerializeToString()
        (restored,) = CODEC.restore([memoryview(CODEC.compress(payload))], sum(SIZES))
        assert pb.Record.FromString(restored) == record


def test_what_a_camera_sees_becomes_smaller_and_numbers_stay_as_they_are():
    rows, columns = np.mgrid[:20, :24]
    seen = observation()
    seen[1] = np.repeat((3 * rows + 2 * columns)[..., None], 3, -1).astype(np.uint8).tobytes()
    packed = pb.Record.FromString(CODEC.compress(step_of(seen).SerializeToString())).step.observation
    assert packed[0] == seen[0]
    assert len(packed[1]) < len(seen[1]) / 2


def test_records_without_an_observation_are_left_alone():
    for record in (
        pb.Record(sequence=1, step=pb.Step(interrupted=True)),
        pb.Record(sequence=2, end=pb.EpisodeEnd(steps=3)),
        step_of(observation()[:2]),
    ):
        payload = record.SerializeToString()
        assert CODEC.compress(payload) == payload
        assert CODEC.restore([payload], sum(SIZES)) == [payload]


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"no zlib", "incorrect header check"),
        (zlib.compress(bytes(SIZES[1] - 1)), f"{SIZES[1] - 1} bytes"),
        (zlib.compress(bytes(SIZES[1] + 1)), "more"),
        (zlib.compress(bytes(200 << 20), 9), "more"),
        (zlib.compress(bytes(SIZES[1])) + b"x", "more"),
        (zlib.compress(bytes(SIZES[1]))[:-3], "a stream that does not end"),
    ],
)
def test_an_image_of_another_size_is_refused_by_place_and_name(data, got):
    seen = observation()
    packed = pb.Record.FromString(CODEC.compress(step_of(seen).SerializeToString()))
    packed.step.observation[1] = data
    good = CODEC.compress(step_of(seen).SerializeToString())
    with pytest.raises(
        RecordError,
        match=rf"records\[1\] \(sequence 7\): observation 'observation.images.front' must be {SIZES[1]} bytes, "
        rf"compressed with zlib\. Got: .*{got}",
    ):
        CODEC.restore([good, packed.SerializeToString()], 1 << 20)


def test_a_small_batch_cannot_fill_the_memory():
    packed = CODEC.compress(step_of([bytes(size) for size in SIZES]).SerializeToString())
    assert len(CODEC.restore([packed] * 10, 10 * sum(SIZES))) == 10
    with pytest.raises(RecordError, match=f"a batch must have at most {10 * sum(SIZES)} bytes of observations"):
        CODEC.restore([packed] * 11, 10 * sum(SIZES))
