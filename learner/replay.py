"""The replay buffer: every step once, n-step windows and frame stacks when a batch is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from episodes.contract import Contract
from episodes.outcome import Outcome
from learner.augmentation import check_shift, draw_shifts
from learner.batch_memory import BatchMemory
from learner.image_columns import PLACES, image_device
from learner.memory import free_memory_bytes
from learner.replay_records import ReplayRecords
from learner.replay_rows import RowStorage, row_bytes
from learner.windows import Batch, Draw, Windows
from policies.gripper import Gripper
from transport import records_pb2 as pb

__all__ = ["Batch", "EmptyReplayError", "ReplayBuffer", "ReplayConfig", "replay_device"]


class EmptyReplayError(LookupError):
    """Something was asked of a replay buffer that holds nothing to answer with."""


@dataclass(frozen=True)
class ReplayConfig:
    """Settings of the replay buffer.

    Attributes:
        capacity_gb: Memory of the buffer in 1e9 bytes; None for a quarter of what is free at start.
        protected_share: Share of it kept for demonstrations and episodes in which a person acted, in (0, 1).
        cut_at_takeover: Whether an n-step window ends where who acts changes; false needs
            algorithm.takeover_discount=1.
        device: Where images are kept: ``host``, ``device`` (where updates run) or ``auto``: on a CUDA GPU with room
            for them all, else the host.
    """

    capacity_gb: float | None = None
    protected_share: float = 0.3
    cut_at_takeover: bool = True
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.device not in PLACES:
            raise ValueError(f"replay.device must be one of {PLACES}. Got: {self.device!r}")

    def capacity_bytes(self) -> int:
        return int(0.25 * free_memory_bytes() if self.capacity_gb is None else self.capacity_gb * 1e9)


def replay_device(config: ReplayConfig, contract: Contract, capacity_bytes: int, device: Any) -> Any:
    """Torch device that is to keep the images of so large a replay buffer; None for the memory of this process.

    ``device`` is where updates run.
    """
    image_bytes = sum(f.nbytes for f in contract.stored if f.is_image)
    return image_device(config.device, device, image_bytes * (capacity_bytes // row_bytes(contract)))


class ReplayBuffer:
    """Holds what the log says, in log order, and draws batches from two views of it.

    The *online* view has every step of the run's actors, human ones included. The *demonstration* view has recorded
    demonstrations and human steps. Within a view every step is drawn with the same probability, the last n-1 of an
    episode with shorter windows. A step of a running episode can be drawn as soon as its own next observation is there.

    A window starts at a usable step and ends after n steps, at termination or truncation, at the newest step, before a
    step that is held, interrupted or has left sampling, and where who acts changes (``cut_at_takeover``).

    The same entries and seed give the same batches: only drawing uses the generator, and what applying does depends on
    nothing but the entries. Everything is called from one thread, but for ``Draw.read``.

    Args:
        contract: Of the run.
        capacity_bytes: Memory for rows with all that is kept beside them; taken only as rows are written.
        protected_share: Share of the rows for demonstrations and episodes with human steps, in (0, 1). Online episodes
            use what of it is not taken yet; they never make a protected episode leave.
        n_step: Longest window, at least 1.
        gamma: Discount per step, in [0, 1].
        cut_at_takeover: Whether a window ends where who acts changes.
        takeover_discount: Factor on the discount of a window that ends where a person takes over, in [0, 1].
        seed: Of the generator that draws batches.
        gripper: Whose changes of side batches count; None where it is continuous.
        device: Torch device that keeps the images, and on which those of batches then are, as tensors; None for the
            memory of this process.

    Attributes:
        last_demonstration_share: Share of the newest batch that came from the demonstration view.

    Raises:
        ValueError: for a capacity of less than two rows a side, or more than there is.
    """

    def __init__(
        self,
        contract: Contract,
        *,
        capacity_bytes: int,
        protected_share: float = 0.3,
        n_step: int = 1,
        gamma: float = 0.99,
        cut_at_takeover: bool = True,
        takeover_discount: float = 1.0,
        gripper: Gripper | None = None,
        seed: int = 0,
        device: Any = None,
    ):
        self._contract = contract
        try:
            self._storage = RowStorage(contract, capacity_bytes, device)
        except MemoryError as error:
            raise ValueError(
                f"{'this machine' if device is None else device} has no {capacity_bytes / 1e9:.1f} GB for replay. "
                f"Lower replay.capacity_gb{'' if device is None else ' or set replay.device=host'}"
            ) from error
        protected_rows = int(self._storage.capacity * protected_share)
        if not 2 <= protected_rows <= self._storage.capacity - 2:
            raise ValueError(
                f"replay.protected_share must leave 2 rows or more on either side. Got: {protected_share} of "
                f"{self._storage.capacity} rows of {row_bytes(contract)} bytes"
            )
        self._stacks = {f.name: contract.view.stack(f.name) for f in self._storage.features}
        self._windows = Windows(self._storage, self._stacks, n_step, gamma, takeover_discount, gripper)
        self._records = ReplayRecords(
            self._storage,
            protected_rows=protected_rows,
            max_stack=max(self._stacks.values()),
            cut_at_takeover=cut_at_takeover,
        )
        self._rng = np.random.default_rng(seed)
        self.last_demonstration_share = 0.0

    @property
    def capacity_rows(self) -> int:
        return self._storage.capacity

    @property
    def capacity_hours(self) -> float:
        """Hours of robot time the rows hold; infinite where the contract states no control rate."""
        hz = self._contract.interface.control_hz
        return self.capacity_rows / hz / 3600 if hz > 0 else math.inf

    @property
    def rows(self) -> int:
        """Rows in use: observations stored."""
        return self._storage.capacity - self._storage.free

    @property
    def online_size(self) -> int:
        """Steps that can be drawn from the online view."""
        return len(self._records.online)

    @property
    def demonstration_size(self) -> int:
        """Steps that can be drawn from the demonstration view."""
        return len(self._records.demonstrations)

    @property
    def counts(self) -> dict[str, int]:
        """What was not simply stored, since the start: held, interrupted, misplaced, unknown, evicted, overflowed."""
        episodes = self._records.episodes
        left = {"evicted_episodes": episodes.evicted, "overflowed_episodes": episodes.overflowed}
        return self._records.counts | left

    def rng_state(self) -> dict[str, Any]:
        """State of the generator, of JSON types."""
        return dict(self._rng.bit_generator.state)

    def set_rng_state(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state

    def apply(self, entry: pb.LogEntry) -> None:
        """Takes the next entry of the log; the only way in."""
        self._records.apply(entry.record)

    def sample(
        self,
        batch_size: int,
        demo_share: float = 0.5,
        shift_px: int = 0,
        *,
        images: bool = True,
        into: BatchMemory | None = None,
    ) -> Batch:
        """Draws from both views, online first. While one is empty the other fills the batch.

        Args:
            batch_size: Transitions.
            demo_share: Share of them from the demonstration view, in [0, 1].
            shift_px: Greatest random shift of images in either direction [px]: one for each sample and camera, which
                all frames of a stack share, drawn apart for observation and next observation.
            images: Whether observations have their images.
            into: Memory of the batch, which then lasts until that is cleared; None for new memory.

        Raises:
            EmptyReplayError: where both are empty.
            ValueError: for a shift as large as an image.
        """
        return self.draw(batch_size, demo_share, shift_px, images=images, into=into).read()

    def draw(
        self,
        batch_size: int,
        demo_share: float = 0.5,
        shift_px: int = 0,
        *,
        images: bool = True,
        into: BatchMemory | None = None,
    ) -> Draw:
        """Like ``sample``, but leaves copying the images to ``Draw.read``."""
        demos = round(batch_size * demo_share) if self.demonstration_size else 0
        if not self.online_size:
            demos = batch_size
        return self._draw(batch_size - demos, demos, shift_px, images, into)

    def sample_demonstrations(
        self, batch_size: int, shift_px: int = 0, *, images: bool = True, into: BatchMemory | None = None
    ) -> Batch:
        """Draws from the demonstration view alone; as ``sample``. Raises EmptyReplayError where it is empty."""
        return self._draw(0, batch_size, shift_px, images, into).read()

    def windows(self, rows: np.ndarray, demonstration: bool | np.ndarray = False, *, images: bool = True) -> Batch:
        """The windows that start at ``rows`` (B,), each one of ``online_rows`` or ``demonstration_rows``."""
        return self._windows.draw(rows, demonstration, images=images).read()

    def batch_bytes(self, batch_size: int, *, images: bool = True) -> int:
        """Bytes that a batch takes of a ``BatchMemory``."""
        return self._windows.batch_bytes(batch_size, images=images and self._storage.images.device is None)

    @property
    def generation(self) -> np.ndarray:
        """How often each row was written, uint32 (capacity_rows,), read-only: see ``Batch.generation``."""
        generation = self._storage.generation[:]
        generation.flags.writeable = False
        return generation

    @property
    def online_rows(self) -> np.ndarray:
        """Rows of the online view, int32 (online_size,), in no order; valid until the next entry is applied."""
        return self._records.online.rows

    @property
    def demonstration_rows(self) -> np.ndarray:
        """Rows of the demonstration view, int32 (demonstration_size,), in no order; valid until the next entry."""
        return self._records.demonstrations.rows

    def statistics(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean and standard deviation of every vector feature over all that is stored and not discarded.

        Both are float32 of shape (D,), of one frame: a stack repeats them.

        Raises:
            EmptyReplayError: where nothing is stored.
        """
        kept = [e for e in self._records.episodes if e.verdict is None or e.verdict.outcome is not Outcome.DISCARDED]
        rows = np.concatenate([np.empty(0, np.int32), *(np.array(e.rows, np.int32) for e in kept)])
        result = {}
        for feature in self._storage.features:
            if feature.is_image:
                continue
            values = self._storage.vectors[feature.name][rows].astype(np.float64)
            values = values[np.isfinite(values).all(axis=1)]
            if not len(values):
                raise EmptyReplayError(f"no statistics of {feature.name!r}: replay holds no observation of it")
            result[feature.name] = (values.mean(0).astype(np.float32), values.std(0).astype(np.float32))
        return result

    def _draw(self, online: int, demos: int, shift_px: int, images: bool, into: BatchMemory | None) -> Draw:
        if demos and not self.demonstration_size:
            raise EmptyReplayError(f"replay has no step to draw a batch from. It holds {self.rows} observations")
        cameras = [f for f in self._storage.features if f.is_image] if images and shift_px else []
        for camera in cameras:
            check_shift(shift_px, *camera.shape[:2])
        views = ((self._records.online, online), (self._records.demonstrations, demos))
        rows = np.concatenate([view.draw(self._rng, count) for view, count in views if count])
        count = online + demos
        shifts = {f.name: draw_shifts(self._rng, shift_px, 2 * count).reshape(2, count, 2) for f in cameras}
        self.last_demonstration_share = demos / count
        return self._windows.draw(rows, np.arange(count) >= online, images=images, shifts=shifts, into=into)
