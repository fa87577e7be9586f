import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.stacking import FrameStack, frame_indices, join_frames


def test_indices_are_oldest_first_and_the_first_frame_repeats():
    np.testing.assert_array_equal(
        frame_indices(np.array([10, 11, 14]), 3, first=10), [[10, 10, 10], [10, 10, 11], [12, 13, 14]]
    )


def test_images_join_along_channels():
    frames = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    joined = join_frames(frames, image=True)
    np.testing.assert_array_equal(joined[..., :3], frames[0])
    np.testing.assert_array_equal(joined[..., 3:], frames[1])
    np.testing.assert_array_equal(join_frames(frames[None], image=True)[0], joined)


@given(length=st.integers(1, 12), stack=st.integers(1, 5))
def test_the_actors_stack_is_what_replay_gathers(length, stack):
    rng = np.random.default_rng(length * 10 + stack)
    vectors = rng.standard_normal((length, 2)).astype(np.float32)
    images = rng.integers(0, 255, (length, 3, 4, 3), dtype=np.uint8)
    frame_stack = FrameStack({"v": stack, "i": stack})
    for t in range(length):
        observation = {"v": vectors[t], "i": images[t], "unused": vectors[t]}
        stacked = frame_stack.reset(observation) if t == 0 else frame_stack.push(observation)
        rows = frame_indices(t, stack)
        assert set(stacked) == {"v", "i"}
        np.testing.assert_array_equal(stacked["v"], join_frames(vectors[rows], image=False))
        np.testing.assert_array_equal(stacked["i"], join_frames(images[rows], image=True))


def test_reset_forgets_the_last_episode():
    stack = FrameStack({"v": 2})
    stack.reset({"v": np.array([1.0])})
    np.testing.assert_array_equal(stack.push({"v": np.array([2.0])})["v"], [1, 2])
    np.testing.assert_array_equal(stack.reset({"v": np.array([3.0])})["v"], [3, 3])


def test_pushing_before_reset_is_refused():
    with pytest.raises(ValueError, match="reset a frame stack"):
        FrameStack({"v": 2}).push({"v": np.zeros(1)})
