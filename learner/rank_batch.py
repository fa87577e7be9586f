"""A batch cut into equal shares, one for each rank, and sent to them in one piece."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from learner.algorithms.device_batch import tensor, transition_shares
from learner.algorithms.ranks import RankBatch

if TYPE_CHECKING:
    from learner.windows import Batch
    from policies.spec import PolicySpec

_ALIGNMENT = 64
_SCALARS = ("reward", "discount", "share", "human_share")
_ROWS = ("rows", "next_rows", "generation", "next_generation")
_MAYBE = ("toggles", *_ROWS)
"""What a batch may lack."""


def whole_batch(batch: Batch, spec: PolicySpec, device: torch.device, ranks: int, *, following: bool) -> RankBatch:
    """What the ranks need of a batch; its next observations only where ``following``."""
    names = (*spec.inputs, *spec.images)
    share, human_share = transition_shares(batch.demonstration, batch.human)
    return RankBatch(
        observation={name: batch.observation[name] for name in names},
        next_observation={name: batch.next_observation[name] for name in names} if following else {},
        action=batch.action,
        reward=batch.reward,
        discount=batch.discount,
        share=tensor(share, device) * ranks,
        human_share=tensor(human_share, device) * ranks,
        **{name: getattr(batch, name, np.empty(0, np.int32)) for name in _MAYBE},
    )


class BatchLayout:
    """Where each array of a share lies in memory: for each kind of device one piece, and in it one array after another.

    Args:
        arrays: (name, ``cpu`` or ``cuda``, dtype, shape of one share), in order.
    """

    def __init__(self, arrays: Sequence[tuple[str, str, str, tuple[int, ...]]]):
        self.arrays = tuple(arrays)
        self.sizes: dict[str, int] = {}
        self._starts: list[int] = []
        for _, place, dtype, shape in self.arrays:
            start = self.sizes.get(place, 0)
            size = int(np.prod(shape, dtype=np.int64)) * getattr(torch, dtype).itemsize
            self._starts.append(start)
            self.sizes[place] = start + -(-size // _ALIGNMENT) * _ALIGNMENT

    @staticmethod
    def of(batch: RankBatch, ranks: int) -> BatchLayout:
        """Raises ValueError where the transitions cannot be shared equally."""
        arrays = []
        for name, array in _named(batch).items():
            value = torch.as_tensor(array)
            if len(value) % ranks:
                raise ValueError(f"{len(value)} transitions cannot be shared equally by {ranks} ranks")
            shape = (len(value) // ranks, *value.shape[1:])
            arrays.append((name, value.device.type, str(value.dtype).removeprefix("torch."), shape))
        return BatchLayout(arrays)

    def to_json(self) -> bytes:
        return json.dumps(self.arrays).encode()

    @staticmethod
    def from_json(data: bytes) -> BatchLayout:
        return BatchLayout([(name, place, dtype, tuple(shape)) for name, place, dtype, shape in json.loads(data)])

    def scatter(self, batch: RankBatch, ranks: int) -> RankBatch:
        """Sends every other rank its share, and returns that of rank 0, which calls this."""
        named = _named(batch)
        pieces: dict[str, Tensor] = {}
        own: dict[str, Tensor] = {}
        for (name, place, _, shape), start in zip(self.arrays, self._starts, strict=True):
            value = torch.as_tensor(named[name])
            own[name] = value[: shape[0]]
            if place not in pieces:
                pieces[place] = torch.empty(ranks, self.sizes[place], dtype=torch.uint8, device=value.device)
            flat = value.contiguous().view(torch.uint8).view(ranks, -1)
            pieces[place][1:, start : start + flat.shape[1]] = flat[1:]
        for piece in pieces.values():
            dist.scatter(torch.empty_like(piece[0]), list(piece))
        return _batch(own)

    def receive(self, device: torch.device) -> RankBatch:
        """The share of this rank, sent by rank 0's ``scatter``; ``device`` is that of what lies on a GPU there."""
        pieces: dict[str, Tensor] = {}
        for place, size in self.sizes.items():
            pieces[place] = torch.empty(size, dtype=torch.uint8, device="cpu" if place == "cpu" else device)
            dist.scatter(pieces[place])
        own = {}
        for (name, place, dtype, shape), start in zip(self.arrays, self._starts, strict=True):
            kind = getattr(torch, dtype)
            size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
            own[name] = pieces[place][start : start + size].view(kind).view(shape)
        return _batch(own)


def _named(batch: RankBatch) -> dict[str, Any]:
    arrays = {f"observation/{name}": value for name, value in batch.observation.items()}
    arrays |= {f"next_observation/{name}": value for name, value in batch.next_observation.items()}
    arrays |= {name: getattr(batch, name) for name in ("action", *_SCALARS)}
    return arrays | {name: getattr(batch, name) for name in _MAYBE if len(getattr(batch, name))}


def _batch(arrays: dict[str, Tensor]) -> RankBatch:
    def of(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}

    empty = torch.empty(0, dtype=torch.int32)
    return RankBatch(
        observation=of("observation/"),
        next_observation=of("next_observation/"),
        action=arrays["action"],
        **{name: arrays[name] for name in _SCALARS},
        toggles=arrays.get("toggles", empty),
        **{name: arrays.get(name, empty).numpy() for name in _ROWS},
    )
