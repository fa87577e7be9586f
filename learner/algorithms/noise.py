"""Every random number an algorithm draws, from one generator of its own."""

from __future__ import annotations

import torch
from torch import Tensor


class Noise:
    """Named draws, so that a test can replay them.

    Attributes:
        generator: On the algorithm's device; its state belongs to a checkpoint.
    """

    def __init__(self, device: torch.device, seed: int) -> None:
        self.generator = torch.Generator(device)
        self.generator.manual_seed(seed)

    def normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers. ``name`` says what for."""
        return torch.randn(shape, generator=self.generator, device=self.generator.device)

    def subset(self, name: str, size: int, chosen: int) -> Tensor:
        """``chosen`` different indices below ``size``."""
        return torch.randperm(size, generator=self.generator, device=self.generator.device)[:chosen]
