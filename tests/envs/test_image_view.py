"""How a captured frame becomes the one that is stored, and what is said of one that did not come."""

import re

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import EnvError
from envs.image_view import LOST_CAMERA, ImageView, render_view
from envs.registry import derive_contract, make_env
from envs.so101_sim import SO101SimConfig, SO101SimEnv

FRONT, WRIST = "observation.images.front", "observation.images.wrist"
SMALL = SO101SimConfig(obs="pixels", image_height=48, image_width=64, image_crop=(8, 0, 40, 60), image_resize=(20, 30))


class Camera(gym.Env):
    """Gives the frames it is told to, under the names of a contract."""

    observation_space = spaces.Dict([(FRONT, spaces.Box(0, 255, (6, 8, 3), np.uint8))])
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, *frames):
        self.frames = list(frames)

    def reset(self, *, seed=None, options=None):
        return self.frames.pop(0), {}

    def step(self, action):
        return self.frames.pop(0), 0.0, False, False, {"success": False}


@given(st.data(), st.integers(1, 4), st.integers(1, 4))
def test_a_view_is_the_mean_of_whole_blocks_of_the_crop(data, rows, columns):
    """cv2's area averaging, where the factor is whole, is written out here with numpy."""
    height, width = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    top, left = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    frame = np.random.default_rng(rows).integers(0, 256, (24, 24, 3), np.uint8)
    crop = (top, left, height * rows, width * columns)
    shown = render_view(frame, crop, (height, width))
    cropped = frame[top : top + crop[2], left : left + crop[3]].astype(np.float64)
    mean = cropped.reshape(height, rows, width, columns, 3).mean((1, 3))
    assert (shown.shape, shown.dtype) == ((height, width, 3), np.uint8)
    assert np.abs(shown - mean).max() <= 0.5 + 1e-9
    assert shown.flags.c_contiguous


def test_no_view_copies_nothing():
    frame = np.zeros((4, 5, 3), np.uint8)
    assert render_view(frame, (), ()) is frame
    assert render_view(frame, (), (4, 5)) is frame


def test_an_environment_shows_what_the_contract_stores_and_captures_what_the_interface_says():
    contract = derive_contract("so101_sim", SMALL)
    assert contract.interface.feature(FRONT).shape == (48, 64, 3)
    assert {f.name: f.shape for f in contract.stored if f.is_image} == {FRONT: (20, 30, 3), WRIST: (20, 30, 3)}
    shown, captured = make_env("so101_sim", SMALL), SO101SimEnv(SMALL)
    assert list(shown.observation_space.spaces) == [f.name for f in contract.stored]
    seen, raw = shown.reset(seed=4)[0], captured.reset(seed=4)[0]
    for _ in range(2):
        assert shown.observation_space.contains(seen)
        for name in (FRONT, WRIST):
            assert raw[name].shape == (48, 64, 3)
            np.testing.assert_array_equal(seen[name], render_view(raw[name], SMALL.image_crop, SMALL.image_resize))
            assert seen[name].std() > 5
        np.testing.assert_array_equal(seen["observation.state"], raw["observation.state"])
        seen, raw = (env.step(np.zeros(4, np.float32))[0] for env in (shown, captured))
    for env in (shown, captured):
        env.close()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"image_crop": (0, 8, 48, 64)}, r"front\.crop: expected .* within the 48 x 64 image, got \(0, 8, 48, 64\)"),
        ({"image_crop": (0, 0, 8)}, r"front\.crop: expected top, left, height, width .*, got \(0, 0, 8\)"),
        ({"image_crop": (-1, 0, 8, 8)}, r"front\.crop: expected .*, got \(-1, 0, 8, 8\)"),
        (
            {"image_resize": (32,)},
            r"front\.resize: expected height, width, got \(32,\)\. Set env\.image_crop=\[top,left",
        ),
        ({"image_resize": (0, 32)}, r"front\.resize: expected height, width, got \(0, 32\)"),
    ],
)
def test_a_view_outside_the_image_names_key_expected_and_got(settings, text):
    config = SO101SimConfig(obs="pixels", image_height=48, image_width=64, **settings)
    for use in (derive_contract, make_env):
        with pytest.raises(EnvError, match=text):
            use("so101_sim", config)


@pytest.mark.parametrize(
    ("bad", "got"),
    [
        ({}, "no frame"),
        ({FRONT: None}, "no frame"),
        ({FRONT: np.zeros((3, 4, 3), np.uint8)}, r"uint8 of shape \(3, 4, 3\)"),  # which would pass for a stored one
        ({FRONT: np.zeros((6, 8, 3), np.float32)}, r"float32 of shape \(6, 8, 3\)"),
    ],
)
def test_a_camera_that_is_gone_or_has_another_size_is_named_and_left_out(bad, got):
    good = {FRONT: np.full((6, 8, 3), 9, np.uint8)}
    env = ImageView(Camera(good, bad, good), resize=(3, 4))
    seen, info = env.reset()
    assert (seen[FRONT].shape, info) == ((3, 4, 3), {})
    seen, *_, info = env.step(np.zeros(1))
    assert seen == {}
    assert info["success"] is False
    assert re.fullmatch(rf"{FRONT}: expected uint8 of shape \(6, 8, 3\) from the camera, got {got}", info[LOST_CAMERA])
    seen, *_, info = env.step(np.zeros(1))
    assert seen[FRONT].shape == (3, 4, 3)
    assert LOST_CAMERA not in info
