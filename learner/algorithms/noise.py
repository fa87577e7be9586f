"""Every random number an algorithm draws, from one generator of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from learner.algorithms.ranks import rank_count, share_of


class Noise:
    """Named draws, so that a test can replay them.

    Attributes:
        generator: On the algorithm's device; its state belongs to a checkpoint.
    """

    def __init__(self, device: torch.device, seed: int) -> None:
        self.generator = torch.Generator(device)
        self.generator.manual_seed(seed)

    def normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers. ``name`` says what for. The first of ``shape`` is that of this rank's share."""
        # Every rank draws for all of them, so that together they see the noise that one process would.
        whole = (shape[0] * rank_count(), *shape[1:])
        return share_of(torch.randn(whole, generator=self.generator, device=self.generator.device))

    def subset(self, name: str, size: int, chosen: int) -> Tensor:
        """``chosen`` different indices below ``size``."""
        return torch.randperm(size, generator=self.generator, device=self.generator.device)[:chosen]
