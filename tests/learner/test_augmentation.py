import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from learner.augmentation import draw_shifts, gather_images, shift_images

SHIFT_PX = 4


def pad_and_crop(image, dy, dx, pad=SHIFT_PX):
    """What the papers say: pad by the edge, crop at a place of one's own."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    return padded[pad + dy : pad + dy + height, pad + dx : pad + dx + width]


def all_shifts(shift_px=SHIFT_PX):
    axis = range(-shift_px, shift_px + 1)
    return np.array([(dy, dx) for dy in axis for dx in axis])


def images(count, height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(5, 5), (5, 16), (16, 5), (16, 24)])
@pytest.mark.parametrize("channels", [3, 9])
def test_every_shift_is_a_crop_of_the_padded_image(height, width, channels):
    shifts = all_shifts()
    given_images = images(len(shifts), height, width, channels)
    expected = [pad_and_crop(i, dy, dx) for i, (dy, dx) in zip(given_images, shifts, strict=True)]
    np.testing.assert_array_equal(shift_images(given_images, shifts), expected)


def test_corners_of_the_image_fill_the_corners_that_a_shift_uncovers():
    image = images(1, 8, 8)
    for dy, dx, corner in ((-4, -4, (0, 0)), (-4, 4, (0, 7)), (4, -4, (7, 0)), (4, 4, (7, 7))):
        shifted = shift_images(image, np.array([(dy, dx)]))[0]
        ys, xs = (slice(0, 5) if d < 0 else slice(3, 8) for d in (dy, dx))
        assert (shifted[ys, xs] == image[0][corner]).all()


def test_agrees_with_drqv2_by_bilinear_interpolation_at_whole_pixels():
    """RandomShiftsAug of DrQ-v2: pad by replication, then grid_sample on a grid moved by whole pixels."""
    size, shifts = 20, all_shifts()
    given_images = images(len(shifts), size, size, 9)
    padded_size = size + 2 * SHIFT_PX
    x = torch.from_numpy(given_images).permute(0, 3, 1, 2).double()
    x = functional.pad(x, (SHIFT_PX,) * 4, "replicate")
    edge = 1.0 / padded_size
    axis = torch.linspace(-1 + edge, 1 - edge, padded_size, dtype=torch.float64)[:size]
    base = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    drawn = torch.from_numpy(shifts[:, ::-1].copy() + SHIFT_PX)[:, None, None].double()
    grid = base + drawn * 2.0 / padded_size
    expected = functional.grid_sample(x, grid, padding_mode="zeros", align_corners=False).permute(0, 2, 3, 1)
    np.testing.assert_allclose(shift_images(given_images, shifts), expected.numpy(), atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_frames_of_a_stack_move_alike(data):
    height, width = data.draw(st.integers(2, 9)), data.draw(st.integers(2, 9))
    stack, batch = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    column = images(5, height, width, seed=data.draw(st.integers(0, 100)))
    rows = np.array(data.draw(st.lists(st.lists(st.integers(0, 4), min_size=stack, max_size=stack), min_size=batch)))
    most = min(height, width) - 1
    pixels = st.integers(-most, most)
    shifts = np.array([data.draw(st.tuples(pixels, pixels)) for _ in rows])
    shown = data.draw(st.sampled_from([shifts, None]))
    out = np.zeros((len(rows), height, width, 3 * stack), np.uint8)
    gather_images(column, rows, out, shown)
    for got, frames, (dy, dx) in zip(out, rows, shifts if shown is not None else np.zeros_like(shifts), strict=True):
        expected = np.concatenate([pad_and_crop(column[frame], dy, dx, most) for frame in frames], axis=-1)
        np.testing.assert_array_equal(got, expected)


def test_shifts_are_drawn_evenly_from_the_whole_square():
    """Chi-square over the 81 shifts of 4 px; the bound is passed by chance once in a thousand."""
    drawn = draw_shifts(np.random.default_rng(0), SHIFT_PX, 81_000)
    assert drawn.shape == (81_000, 2)
    counts = np.unique_counts(drawn[:, 0] * 100 + drawn[:, 1]).counts
    assert len(counts) == 81
    assert np.sum((counts - 1000) ** 2 / 1000) < 125


def test_refuses_a_shift_that_leaves_nothing_of_the_image():
    with pytest.raises(ValueError, match=r"at least 0 px and less than the 4 x 6 px of the image\. Got: 4"):
        shift_images(images(1, 4, 6), np.array([(0, -4)]))
