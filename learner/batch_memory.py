"""Memory that batches are drawn into: one piece, used again, and moved to a GPU in one copy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_ALIGNMENT = 64


def aligned_bytes(shape: tuple[int, ...], dtype: np.dtype | str | type) -> int:
    """Bytes that an array takes of a ``BatchMemory``."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return -(-size // _ALIGNMENT) * _ALIGNMENT


class BatchMemory:
    """Arrays one behind the other in one piece of memory.

    Fresh memory costs more than what is copied into it: the system clears every page of it first.

    Args:
        size: Bytes; ``ReplayBuffer.batch_bytes`` says how many a batch takes.
        pinned: Page-locked, from which a GPU copies while the CPU goes on. Needs CUDA.
    """

    def __init__(self, size: int, *, pinned: bool = False):
        self._tensor: Tensor | None = None
        if pinned:
            import torch

            self._tensor = torch.empty(size, dtype=torch.uint8, pin_memory=True)
            self._bytes = self._tensor.numpy()
        else:
            self._bytes = np.empty(size, np.uint8)
        self._used = 0

    def clear(self) -> None:
        """Gives all of it back: arrays taken before will be written over."""
        self._used = 0

    def array(self, shape: tuple[int, ...], dtype: np.dtype | str | type) -> np.ndarray:
        """The next array, with nothing written to it. Raises ValueError where the memory is used up."""
        start, size = self._used, math.prod(shape) * np.dtype(dtype).itemsize
        if start + size > len(self._bytes):
            raise ValueError(
                f"memory for batches is used up: {len(self._bytes)} bytes, {start} of them taken, {size} asked for"
            )
        self._used = start + aligned_bytes(shape, dtype)
        return self._bytes[start : start + size].view(dtype).reshape(shape)

    def to_device(self, arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
        """Everything taken since ``clear``, moved in one copy, as one tensor for each of ``arrays``.

        From pinned memory the copy may still be under way when this returns: neither write to the memory nor clear it
        before the stream that was current here has come to its end.
        """
        import torch

        whole = self._tensor if self._tensor is not None else torch.from_numpy(self._bytes)
        moved = whole[: self._used].to(device, non_blocking=self._tensor is not None, copy=True)
        base = self._bytes.ctypes.data
        tensors = []
        for array in arrays:
            start = array.ctypes.data - base
            dtype = torch.from_numpy(array).dtype
            tensors.append(moved[start : start + array.nbytes].view(dtype).view(array.shape))
        return tensors
