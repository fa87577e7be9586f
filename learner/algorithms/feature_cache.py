"""What a frozen encoder gives, kept for each row of the replay buffer, so that it is computed once and used often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_EMPTY = -1
_FIRST_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Rows:
    """Where a batch's observations are in the replay buffer.

    Attributes:
        rows: Integers (B,), as ``Batch.rows``.
        generation: Integers (B,), as ``Batch.generation``.
    """

    rows: np.ndarray
    generation: np.ndarray


class FeatureCache:
    """Features of up to ``copies`` randomly shifted copies of every observation.

    A copy that is not there yet is the one that the batch at hand happens to hold. Memory grows with the rows of the
    replay buffer that were ever drawn: ``copies`` times the size of a feature.

    Args:
        copies: Of each observation.
        device: Where features are kept.
    """

    def __init__(self, copies: int, device: torch.device) -> None:
        self.copies = copies
        self._device = device
        self._held = np.empty(0, np.int64)
        self._table = torch.empty(0, 0, device=device)

    def clear(self) -> None:
        """Forgets everything: the encoder has changed."""
        self._held.fill(_EMPTY)

    def features(
        self, at: Rows, copy: int, observation: Mapping[str, Tensor], encode: Callable[[Mapping[str, Tensor]], Tensor]
    ) -> Tensor:
        """Features (B, E) of one copy of the observations ``at``, the number ``copy`` modulo all copies; ``encode`` is
        given those of ``observation`` that are not known."""
        places = at.rows.astype(np.int64) * self.copies + copy % self.copies
        unknown = np.flatnonzero(self.unknown(at, copy))
        if len(unknown):
            new, first = np.unique(places[unknown], return_index=True)
            chosen = torch.from_numpy(unknown[first]).to(self._device, non_blocking=True)
            found = encode({name: value[chosen] for name, value in observation.items()})
            if found.shape[1] != self._table.shape[1]:
                self._table = torch.empty(len(self._held), found.shape[1], device=self._device)
            self._table[torch.from_numpy(new).to(self._device, non_blocking=True)] = found
            self._held[new] = at.generation[unknown[first]]
        return self._table[torch.from_numpy(places).to(self._device, non_blocking=True)]

    def unknown(self, at: Rows, copy: int) -> np.ndarray:
        """Which of the observations ``at`` are not known as the copy of that number, bool (B,)."""
        places = at.rows.astype(np.int64) * self.copies + copy % self.copies
        self._grow(int(places.max()) + 1)
        return self._held[places] != at.generation

    def _grow(self, size: int) -> None:
        if size <= len(self._held):
            return
        capacity = max(2 * len(self._held), size, _FIRST_ROWS * self.copies)
        held, table = self._held, self._table
        self._held = np.full(capacity, _EMPTY)
        self._held[: len(held)] = held
        self._table = torch.empty(capacity, table.shape[1], device=self._device)
        self._table[: len(table)] = table
