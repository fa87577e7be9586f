"""The replay buffer against a naive one, on random streams of log entries."""

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.learner.naive_replay import IMAGE, STATE
from tests.learner.replay_streams import Recorder, setups, streams


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(setups, streams)
def test_holds_exactly_the_windows_of_a_naive_buffer(setup, stream):
    recorder = Recorder(setup)
    for i, (name, *arguments) in enumerate(stream):
        getattr(recorder, name)(*arguments)
        if i % 5 == 0:
            recorder.check()
    recorder.check()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(setups, streams)
def test_row_and_generation_name_one_observation_for_good(setup, stream):
    """Features that were cached for a row of a generation are those of what is read there at any later time."""
    recorder = Recorder(setup)
    seen: dict[tuple[int, int], tuple] = {}
    for name, *arguments in stream:
        getattr(recorder, name)(*arguments)
        replay = recorder.replay
        for view in (replay.online_rows, replay.demonstration_rows):
            b = replay.windows(view)
            np.testing.assert_array_equal(b.generation, replay.generation[b.rows])
            np.testing.assert_array_equal(b.next_generation, replay.generation[b.next_rows])
            for rows, generations, observation in (
                (b.rows, b.generation, b.observation),
                (b.next_rows, b.next_generation, b.next_observation),
            ):
                for i, place in enumerate(zip(rows.tolist(), generations.tolist(), strict=True)):
                    there = tuple(value[i].tobytes() for value in observation.values())
                    assert seen.setdefault(place, there) == there


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(setups, streams)
def test_shifted_batch_holds_crops_of_the_padded_stacks(setup, stream):
    recorder = Recorder(setup)
    for name, *arguments in stream:
        getattr(recorder, name)(*arguments)
    replay = recorder.replay
    if not (replay.online_size or replay.demonstration_size):
        return
    shifted = replay.sample(8, shift_px=1)
    plain = replay.windows(shifted.rows)
    for name in ("action", "reward", "discount", "human", "k", "proposed", "rows", "next_rows"):
        np.testing.assert_array_equal(getattr(shifted, name), getattr(plain, name))
    for got, whole in ((shifted.observation, plain.observation), (shifted.next_observation, plain.next_observation)):
        np.testing.assert_array_equal(got[STATE], whole[STATE])
        for image, stack in zip(got[IMAGE], whole[IMAGE], strict=True):
            padded = np.pad(stack, ((1, 1), (1, 1), (0, 0)), mode="edge")
            assert image.tobytes() in {padded[y : y + 3, x : x + 2].tobytes() for y in range(3) for x in range(3)}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(setups, streams, st.integers(0, 1))
def test_images_on_a_device_are_those_on_the_host(setup, stream, shift_px):
    host, device = Recorder(setup), Recorder(setup, device="cpu")
    for name, *arguments in stream:
        getattr(host, name)(*arguments)
        getattr(device, name)(*arguments)
    if not (host.replay.online_size or host.replay.demonstration_size):
        return
    left, right = host.replay.sample(8, shift_px=shift_px), device.replay.sample(8, shift_px=shift_px)
    assert isinstance(right.observation[IMAGE], torch.Tensor)
    np.testing.assert_array_equal(left.rows, right.rows)
    for name in (STATE, IMAGE):
        np.testing.assert_array_equal(left.observation[name], np.asarray(right.observation[name]))
        np.testing.assert_array_equal(left.next_observation[name], np.asarray(right.next_observation[name]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(setups, streams)
def test_batches_depend_on_the_entries_and_the_seed_alone(setup, stream):
    """A buffer that was drawn from on the way, then given its generator's state, goes on as one that was rebuilt."""
    drawn, rebuilt = Recorder(setup), Recorder(setup)
    for name, *arguments in stream:
        getattr(drawn, name)(*arguments)
        getattr(rebuilt, name)(*arguments)
        if drawn.replay.online_size or drawn.replay.demonstration_size:
            drawn.replay.sample(4)
    if not (drawn.replay.online_size or drawn.replay.demonstration_size):
        return
    rebuilt.replay.set_rng_state(drawn.replay.rng_state())
    left, right = drawn.replay.sample(16, shift_px=1), rebuilt.replay.sample(16, shift_px=1)
    for name in ("action", "reward", "discount", "human", "k", "demonstration", "proposed"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    for name in (STATE, IMAGE):
        np.testing.assert_array_equal(left.observation[name], right.observation[name])
        np.testing.assert_array_equal(left.next_observation[name], right.next_observation[name])
