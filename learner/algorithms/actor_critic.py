"""What SAC and DrQ-v2 have in common: statistics, the start from a given policy, and the noise on vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from policies.snapshot import Snapshot, SnapshotError, load_tensors
from policies.spec import PolicySpec, spec_differences

if TYPE_CHECKING:
    from learner.algorithms.noise import Noise
    from policies.normalization import Statistics


class ActorCritic:
    """Base of the algorithms.

    Attributes:
        config: Settings; of these it reads ``std_floor`` and ``input_noise``.
        spec: Of the policy.
        policy: The acting policy, being trained.
        ema_policy: Its exponential moving average.
        noise: Every random number of an update.
    """

    config: Any
    spec: PolicySpec
    policy: Any
    ema_policy: Any
    noise: Noise

    @property
    def statistics_frozen(self) -> bool:
        return bool(self.policy.normalizer.frozen)

    def freeze_statistics(self, statistics: Statistics) -> None:
        """Sets the normalisation of all networks from one frame's (mean, std). Raises ValueError when set before."""
        self.policy.freeze_statistics(statistics, self.config.std_floor)
        self.ema_policy.freeze_statistics(statistics, self.config.std_floor)

    def _take_policy(self, snapshot: Snapshot) -> None:
        """Gives policy and moving average the weights and statistics of a given policy.

        Raises:
            SnapshotError: where the policy is not of this run's spec, or its statistics were never set.
        """
        if found := spec_differences(self.spec, snapshot.spec):
            raise SnapshotError("the given policy does not fit this run: " + "; ".join(found))
        if not bool(snapshot.tensors["normalizer.frozen"]):
            raise SnapshotError("the given policy was never trained: its normalisation statistics are not set")
        load_tensors(self.policy, snapshot.tensors)
        load_tensors(self.ema_policy, snapshot.tensors)

    @torch.no_grad()
    def _noisy_vectors(self, observation: dict[str, Tensor], name: str) -> Tensor:
        """Normalised vectors with noise, (B, V); images have their random shift instead."""
        vectors, scale = self.policy.vectors(observation), self.config.input_noise
        return vectors.add_(self.noise.normal(name, tuple(vectors.shape)), alpha=scale) if scale else vectors


def join(vectors: Tensor, encoded: list[Tensor]) -> Tensor:
    """Features (B, F): vectors (B, V) and, after them, image features where there are any."""
    return torch.cat((vectors, *encoded), -1) if encoded else vectors
