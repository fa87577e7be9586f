"""Random shift (DrQ, arXiv 2004.13649; DrQ-v2, arXiv 2107.09645) by whole pixels, while images are copied out.

The papers pad an image by its own edge and crop it at a random place. With whole pixels that is a copy: a shift of
(dy, dx) puts pixel (y + dy, x + dx), clamped to the image, at (y, x). All but the edges of that is one run of memory of
the image, dy * W + dx pixels further on.
"""

from __future__ import annotations

import numpy as np


def draw_shifts(rng: np.random.Generator, shift_px: int, count: int) -> np.ndarray:
    """``count`` shifts (dy, dx) in [px], each uniform in [-shift_px, shift_px]^2, int64 of shape (count, 2)."""
    return rng.integers(-shift_px, shift_px + 1, (count, 2))


def check_shift(shift_px: int, height: int, width: int) -> None:
    """Raises ValueError for a shift that is negative or leaves nothing of an image."""
    if not 0 <= shift_px < min(height, width):
        raise ValueError(
            f"a random shift must be at least 0 px and less than the {height} x {width} px of the image. "
            f"Got: {shift_px}; lower shift_px of the algorithm"
        )


def shift_images(images: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Images uint8 (B, H, W, C), each moved by its own of ``shifts`` (B, 2) in [px], edges replicated; new memory.

    Raises ValueError where a shift is as large as the image.
    """
    check_shift(int(np.abs(shifts).max(initial=0)), *images.shape[1:3])
    shifted = np.empty(images.shape, images.dtype)
    gather_images(images, np.arange(len(images))[:, None], shifted, shifts)
    return shifted


def gather_images(column: np.ndarray, rows: np.ndarray, out: np.ndarray, shifts: np.ndarray | None = None) -> None:
    """Copies stacks of frames out of a column of frames, all frames of a stack moved alike.

    Args:
        column: Frames, uint8 (N, H, W, C), contiguous.
        rows: The frames of each stack, oldest first, integers of shape (B, S).
        out: Where to, uint8 (B, H, W, S * C), contiguous.
        shifts: (dy, dx) of each stack in [px], smaller than the image, integers of shape (B, 2); None for none.
    """
    count, height, width, channels = column.shape
    batch, stack = rows.shape
    if shifts is None and stack == 1:
        # The indices are rows of the column: clipping them changes none and spares a second copy.
        column.take(rows[:, 0], axis=0, out=out, mode="clip")
        return
    frames = column.reshape(count, height * width, channels)
    stacks = out.reshape(batch, height * width, stack * channels)
    pixels = stacks.view(f"V{stack * channels}").reshape(batch, height, width)
    moves = [(0, 0)] * batch if shifts is None else shifts.tolist()
    for i, (of_stack, (dy, dx)) in enumerate(zip(rows.tolist(), moves, strict=True)):
        above, below = max(-dy, 0), height - max(dy, 0)
        left, right = max(-dx, 0), width - max(dx, 0)
        first, last = above * width + left, (below - 1) * width + right
        start, end = first + dy * width + dx, last + dy * width + dx
        target = stacks[i]
        if stack == 1:
            target[first:last] = frames[of_stack[0], start:end]
        else:
            # One channel at a time: numpy moves single bytes several times faster than pixels of 3.
            for s, frame in enumerate(of_stack):
                for c in range(channels):
                    target[first:last, s * channels + c] = frames[frame, start:end, c]
        image = pixels[i]
        if left:
            image[above:below, :left] = image[above:below, left, None]
        if right < width:
            image[above:below, right:] = image[above:below, right - 1, None]
        if above:
            image[:above] = image[above]
        if below < height:
            image[below:] = image[below - 1]
