"""The images of the replay buffer: one column of frames a camera, in the memory of this process or on the GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from episodes.contract import Feature
from learner.augmentation import gather_images

if TYPE_CHECKING:
    from torch import Tensor

PLACES = ("auto", "host", "device")


class ImageColumns:
    """A column of frames, uint8 (capacity, H, W, 3), of each camera.

    Attributes:
        device: Torch device that holds them; None for the memory of this process, taken only as rows are written.
        frames: The columns: numpy arrays, or tensors where there is a device.

    Raises:
        MemoryError: where there is not enough memory for them.
    """

    def __init__(self, features: Sequence[Feature], capacity: int, device: Any = None):
        self.device = device
        self.frames: dict[str, Any] = {}
        for feature in features:
            shape = (capacity, *feature.shape)
            self.frames[feature.name] = np.empty(shape, np.uint8) if device is None else _tensor(shape, device)
        self._bytes = {f.name: memoryview(self.frames[f.name].reshape(-1)) for f in features if device is None}
        self._sizes = {f.name: f.nbytes for f in features}

    def write(self, name: str, row: int, data: bytes) -> None:
        """Stores one frame, given as its raw bytes."""
        if self.device is None:
            size = self._sizes[name]
            self._bytes[name][row * size : (row + 1) * size] = data
            return
        import torch

        frame = self.frames[name][row]
        # CUDA has copied from unpinned memory when the call returns, and waits for no work that is under way.
        frame.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8).view(frame.shape), non_blocking=True)

    def gather(self, name: str, rows: np.ndarray, shifts: np.ndarray | None, out: np.ndarray | None) -> Any:
        """Stacks of frames, uint8 (B, H, W, 3 * S): ``out``, or a new tensor where there is a device.

        Args:
            name: Of the camera.
            rows: Integers of shape (B, S), oldest frame first.
            shifts: (dy, dx) of each stack in [px], integers of shape (B, 2); None for none.
            out: Where to, in the memory of this process; None where there is a device.
        """
        column = self.frames[name]
        if out is None:
            return _gather_tensor(column, rows, shifts)
        gather_images(column, rows, out, shifts)
        return out


def _tensor(shape: tuple[int, ...], device: Any) -> Tensor:
    import torch

    try:
        return torch.empty(shape, dtype=torch.uint8, device=device)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        raise MemoryError(str(error)) from error


def _gather_tensor(column: Tensor, rows: np.ndarray, shifts: np.ndarray | None) -> Tensor:
    """As ``learner.augmentation.gather_images``, by one integer gather on the device of ``column``."""
    import torch

    (batch, stack), (height, width, channels) = rows.shape, column.shape[1:]
    frames = torch.from_numpy(rows.astype(np.int64)).to(column.device, non_blocking=True).view(batch, stack, 1, 1)
    if shifts is None:
        found = column[frames.view(batch, stack)]
    else:
        moves = torch.from_numpy(shifts.astype(np.int64)).to(column.device, non_blocking=True)
        y, x = torch.arange(height, device=column.device), torch.arange(width, device=column.device)
        ys = (y + moves[:, :1]).clamp_(0, height - 1).view(batch, 1, height, 1)
        xs = (x + moves[:, 1:]).clamp_(0, width - 1).view(batch, 1, 1, width)
        found = column[frames, ys, xs]
    return found.permute(0, 2, 3, 1, 4).reshape(batch, height, width, stack * channels)


def image_device(where: str, device: Any, image_bytes: int) -> Any:
    """Torch device that is to keep the images of replay; None for the memory of this process.

    Args:
        where: ``host``, ``device`` or ``auto``: on CUDA where its free memory holds them (``fits``).
        device: Where updates run.
        image_bytes: Of all images that replay may come to hold.
    """
    if where == "host" or not image_bytes:
        return None
    import torch

    if where == "device":
        return torch.device(device)
    on_cuda = torch.device(device).type == "cuda"
    return torch.device(device) if on_cuda and fits(image_bytes, torch.cuda.mem_get_info(device)[0]) else None


def fits(image_bytes: int, free_bytes: int) -> bool:
    """Whether so much of a GPU's free memory leaves the updates enough: 2 GB and two-fifths of it."""
    return image_bytes <= min(0.6 * free_bytes, free_bytes - 2e9)
