"""The image encoder that actor and critics share, as one update sees it: encoded once, trained by several losses."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learner.algorithms.adam import Adam
from learner.algorithms.feature_cache import FeatureCache, Rows


class SharedEncoder:
    """What of an encoder is trained, its optimiser, and its moving average for target networks.

    Attributes:
        encoder: Of the policy; None where there are no images.
        parameters: Those that are trained, by name. A pretrained trunk is not among them.
        target: Moving average of ``encoder``; ``encoder`` itself without one.
        autocast: Dtype in which their layers compute under torch.autocast; None for that of their weights. Weights,
            gradients of weights and what they give stay float32.

    Args:
        encoder: Of the policy.
        lr: Adam's step size.
        averaged: Whether target networks have an encoder of their own.
        cached_copies: Shifted copies of each observation whose features are kept while nothing trains the encoder.
    """

    def __init__(self, encoder: nn.Module | None, *, lr: float, averaged: bool, cached_copies: int = 0) -> None:
        self.encoder = self.target = encoder
        self.autocast: torch.dtype | None = None
        self.parameters: dict[str, Any] = {} if encoder is None else dict(encoder.named_parameters())
        self._target_parameters: list[Tensor] = []
        self._adam = Adam(list(self.parameters.values()), lr) if self.parameters else None
        if encoder is not None and averaged:
            self.target = copy.deepcopy(encoder).requires_grad_(False)
            self._target_parameters = list(self.target.parameters())
        self._cache: FeatureCache | None = None
        if self.parameters and cached_copies:
            self._cache = FeatureCache(cached_copies, next(iter(self.parameters.values())).device)

    def encode(
        self, observation: Mapping[str, Tensor], *, trained: bool, at: Rows | None = None, copy: int = 0
    ) -> list[Tensor]:
        """Image features [(B, E)], with their graph where they are ``trained``; empty without images.

        Where they are not, and ``at`` says which observations these are, they may be those of another random shift:
        that of the number ``copy``.
        """
        if self.encoder is None:
            return []
        with torch.set_grad_enabled(trained and bool(self.parameters)):
            if trained or at is None or self._cache is None:
                return [self._see(self.encoder, observation)]
            return [self._cache.features(at, copy, observation, partial(self._see, self.encoder))]

    def unknown(self, at: Rows, copy: int) -> np.ndarray | None:
        """Of which observations ``encode``, untrained, will look at the images, bool (B,); None for all of them."""
        return None if self._cache is None or self.target is not self.encoder else self._cache.unknown(at, copy)

    @torch.no_grad()
    def encode_target(self, observation: Mapping[str, Tensor], features: Sequence[Tensor]) -> list[Tensor]:
        """Features for target networks: ``features``, those of ``encode``, where there is no moving average."""
        if self.target is self.encoder or self.target is None:
            return list(features)
        return [self._see(self.target, observation)]

    def computing(self) -> AbstractContextManager[Any]:
        """In which encoders run, by ``autocast``."""
        if self.autocast is None or self.encoder is None:
            return nullcontext()
        return torch.autocast(next(self.encoder.parameters()).device.type, self.autocast)

    def _see(self, encoder: nn.Module, observation: Mapping[str, Tensor]) -> Tensor:
        with self.computing():
            return encoder(observation).float()

    def train(self, encoded: Tensor, pulls: Sequence[Tensor]) -> None:
        """One step along the sum of the gradients ``pulls`` (B, E) that losses have to ``encoded``: one backward."""
        assert self._adam is not None
        gradients = torch.autograd.grad(encoded, list(self.parameters.values()), sum(pulls[1:], pulls[0]))
        self.step(gradients)

    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step of the optimiser; nothing where nothing is trained."""
        if self._adam is not None:
            self._adam.step(gradients)
            self.forget()

    def forget(self) -> None:
        """Drops cached features: the encoder has changed, or a run that resumes here would not have them."""
        if self._cache is not None:
            self._cache.clear()

    def average(self, share: float) -> None:
        """The moving average takes over ``share`` of the encoder; 1 makes them equal."""
        if self._target_parameters:
            torch._foreach_lerp_(self._target_parameters, list(self.parameters.values()), share)

    def tensors(self) -> dict[str, Tensor]:
        """State of the optimiser and of the moving average, by name. The encoder itself is the policy's."""
        tensors: dict[str, Tensor] = {}
        if self._adam is not None:
            tensors |= self._adam.tensors("encoder_adam", self.parameters)
        if self._target_parameters and self.target is not None:
            tensors |= {f"target_encoder.{name}": value for name, value in self.target.state_dict().items()}
        return tensors
