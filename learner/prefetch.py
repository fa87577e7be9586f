"""The batches of the update loop: drawn into memory that is used again, in a thread of their own where that pays, and
on a GPU moved there in one copy for several updates.

Which transitions a batch holds is decided in the update loop's thread, at a call of ``next``, from the one generator of
the replay buffer; the thread copies images and moves batches. So a run with the thread and one without it differ only
in that a batch is decided on one burst earlier, and a checkpoint holds the generator's state from before all that was
decided on and not used.
"""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from learner.batch_memory import BatchMemory
from learner.replay import ReplayBuffer
from learner.windows import Batch, Draw, Wanted

if TYPE_CHECKING:
    import torch

    from learner.algorithms import Algorithm
    from learner.config import LearnerConfig

MOST_BURST_BYTES = 256e6


def batch_source(
    config: LearnerConfig, algorithm: Algorithm, replay: ReplayBuffer, *, demonstrations: bool = False
) -> BatchSource:
    """The batches of a run's updates, or of its cloning, from demonstrations alone.

    ``prefetch=auto`` has a thread on CUDA alone: on a CPU drawing is a few hundredths of an image update, and where the
    cores are busy a thread gains nothing.
    """
    on_cuda = algorithm.device.type == "cuda"
    return BatchSource(
        replay,
        config.algorithm.batch_size,
        demo_share=1.0 if demonstrations else config.algorithm.demo_share,
        shift_px=algorithm.shift_px,
        device=algorithm.device,
        thread=config.prefetch == "on" or (config.prefetch == "auto" and on_cuda),
        burst=math.ceil(config.algorithm.utd_ratio) if on_cuda else 1,
        wanted=None if demonstrations else algorithm.images_wanted,
    )


@dataclass(frozen=True, slots=True)
class _Burst:
    """Batches that are decided on together: the memory's place in the ring, and the generator before each of them."""

    place: int
    draws: list[Draw]
    before: list[dict[str, Any]]


class BatchSource:
    """Gives one batch after the other.

    A batch lasts until the next call of ``next`` but one; its memory is then used again.

    Args:
        replay: Where batches are drawn.
        batch_size: Transitions of a batch.
        demo_share: Share of them from the demonstration view.
        shift_px: Greatest random shift of images [px].
        device: Where updates run. On another device than the CPU batches are of torch tensors there.
        thread: Whether the next burst is read while the present one trains.
        burst: Batches decided on together, and moved to a GPU in one copy; fewer where they would take more than
            ``MOST_BURST_BYTES``.
        wanted: Which images the next update will look at; only those are copied, where neither a thread nor a GPU does.

    Attributes:
        burst: Batches of a burst.
    """

    def __init__(
        self,
        replay: ReplayBuffer,
        batch_size: int,
        *,
        demo_share: float = 0.5,
        shift_px: int = 0,
        device: str | torch.device = "cpu",
        thread: bool = False,
        burst: int = 1,
        wanted: Wanted | None = None,
    ):
        size = replay.batch_bytes(batch_size)
        self.burst = max(1, min(burst, int(MOST_BURST_BYTES // size)))
        self._replay = replay
        self._sample = (batch_size, demo_share, shift_px)
        self._device = _Device(device) if str(device) != "cpu" else None
        pinned = self._device is not None and self._device.stream is not None
        # One that is read, with the thread one that trains meanwhile, and one that may still be looked at.
        self._ring = [BatchMemory(size * self.burst, pinned=pinned) for _ in range(3 if thread else 2)]
        self._place = 0
        self._used_place = -1
        self._now: deque[tuple[dict[str, Any], Batch]] = deque()
        self._ahead: tuple[_Burst, Future[list[Batch]]] | None = None
        self._thread = ThreadPoolExecutor(1, "prefetch") if thread else None
        # A thread reads ahead of the update before, which may look at more.
        self._wanted = wanted if not thread and self._device is None else None
        self._closed = False

    def next(self) -> Batch:
        """The next batch.

        Raises:
            EmptyReplayError: where nothing can be drawn.
            Exception: what went wrong while it was read, in the thread too.
        """
        if self._closed:
            raise RuntimeError("no batch can be drawn any more: the source of batches was closed")
        if not self._now:
            self._advance()
        return self._now.popleft()[1]

    def rng_state(self) -> dict[str, Any]:
        """State of the replay buffer's generator for a checkpoint, of JSON types: that before every batch not used.

        What was drawn ahead is forgotten, so that this process goes on as one that resumes from the checkpoint does.
        """
        self.rewind()
        return self._replay.rng_state()

    def rewind(self) -> None:
        """Forgets the batches that were decided on and not used; they are drawn again, from what replay then holds."""
        before = [state for state, _ in self._now]
        if self._ahead is not None:
            burst, future = self._ahead
            # What it failed with, if it did, concerns a batch that is not used.
            future.exception()
            before += burst.before
        self._now.clear()
        self._ahead = None
        self._place = self._used_place + 1
        if before:
            self._replay.set_rng_state(before[0])

    def close(self) -> None:
        """Ends the thread. Batches that were not used are forgotten, as by ``rewind``."""
        self.rewind()
        self._closed = True
        if self._thread is not None:
            self._thread.shutdown()

    def _advance(self) -> None:
        """Makes the next burst the present one, and has the one after it read meanwhile."""
        burst, future = self._ahead or (self._decide(), None)
        self._ahead = None
        try:
            batches = self._read(burst) if future is None else future.result()
        except BaseException:
            self._replay.set_rng_state(burst.before[0])
            raise
        if self._device is not None:
            self._device.hand_over(batches)
        self._now.extend(zip(burst.before, batches, strict=True))
        self._used_place = burst.place
        if self._thread is not None:
            ahead = self._decide()
            self._ahead = ahead, self._thread.submit(self._read, ahead)

    def _decide(self) -> _Burst:
        """Draws the transitions of a burst."""
        place = self._place % len(self._ring)
        memory = self._ring[place]
        memory.clear()
        draws: list[Draw] = []
        before: list[dict[str, Any]] = []
        for _ in range(self.burst):
            before.append(self._replay.rng_state())
            draws.append(self._replay.draw(*self._sample, into=memory))
        self._place = place + 1
        return _Burst(place, draws, before)

    def _read(self, burst: _Burst) -> list[Batch]:
        try:
            batches = [draw.read(self._wanted) for draw in burst.draws]
        finally:
            for draw in burst.draws:
                draw.close()
        return batches if self._device is None else self._device.move(batches, self._ring[burst.place])


class _Device:
    """Moves batches to a device, on CUDA beside what computes there.

    Attributes:
        stream: The CUDA stream of the copies; None on other devices.
    """

    def __init__(self, device: str | torch.device):
        import torch

        self.device = torch.device(device)
        self.stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None

    def move(self, batches: list[Batch], memory: BatchMemory) -> list[Batch]:
        """The batches as tensors on the device, by one copy of ``memory``, which may be written again."""
        import torch

        arrays: list[np.ndarray] = []

        def note(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                arrays.append(value)
            return value

        for batch in batches:
            batch.mapped(note)
        with torch.cuda.stream(self.stream):
            tensors = iter(memory.to_device(arrays, self.device))
        if self.stream is not None:
            self.stream.synchronize()
        return [batch.mapped(lambda v: next(tensors) if isinstance(v, np.ndarray) else v) for batch in batches]

    def hand_over(self, batches: list[Batch]) -> None:
        """Keeps the memory of the batches until what the calling thread computes with them is done."""
        import torch

        if self.stream is not None:
            batches[0].reward.record_stream(torch.cuda.current_stream(self.device))
