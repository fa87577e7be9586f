"""What SAC and DrQ-v2 have in common: their networks' places, statistics, cloning, the start from a given policy, the
noise on vectors, and what a checkpoint holds of them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from learner.algorithms.adam import Adam
from learner.algorithms.device import choose_device
from learner.algorithms.device_batch import observation_tensors, tensor
from learner.algorithms.noise import Noise
from learner.algorithms.shared_encoder import SharedEncoder
from learner.algorithms.state import load_state, save_state
from policies.snapshot import Snapshot, SnapshotError, load_tensors
from policies.spec import PolicySpec, build_policy, spec_differences

if TYPE_CHECKING:
    from learner.replay import Batch
    from policies.normalization import Statistics


class ActorCritic(ABC):
    """One learner's networks, optimisers and random numbers.

    Attributes:
        config: Settings.
        spec: Of the policy.
        device: Where updates run.
        policy: The acting policy, being trained; the encoder is its own.
        ema_policy: Its exponential moving average.
        critic: Ensemble of critics over features.
        target: Their target networks.
        encoder: The image encoder that all share.
        noise: Every random number of an update.
        updates: Critic updates so far.
        clones: Cloning updates so far.
        pretrained: Whether the actor started from a cloned or given policy.
        warmup_until: Critic updates before actor and encoder move.
        shift_px: Random shift of images that batches are to come with, in pixels; 0 without images.

    Args:
        config: Settings.
        spec: Of the policy.
        critic: Makes the critics.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        seed: Of initialisation and of every random number in updates.
        target_encoder, cached_copies: ``averaged`` and ``cached_copies`` of ``SharedEncoder``.
    """

    config: Any
    policy: Any

    def __init__(
        self,
        config: Any,
        spec: PolicySpec,
        critic: Callable[[], nn.Module],
        *,
        device: str,
        seed: int,
        target_encoder: bool = False,
        cached_copies: int = 0,
    ) -> None:
        self.config = config
        self.spec = spec
        self.device = choose_device(device)
        initial, updating = (int(s) for s in np.random.SeedSequence(seed).generate_state(2))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(initial)
            self.policy = build_policy(spec).to(self.device)
            self.critic: Any = critic().to(self.device)
        self.encoder = SharedEncoder(
            self.policy.encoder, lr=config.encoder_lr, averaged=target_encoder, cached_copies=cached_copies
        )
        self.ema_policy = copy.deepcopy(self.policy).requires_grad_(False)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.noise = Noise(self.device, updating)
        self.updates = 0
        self.clones = 0
        self.pretrained = False
        self.warmup_until = 0
        self.shift_px = config.shift_px if spec.images else 0
        apart = ("encoder.", "gripper_critic.")
        self._actor = {n: p for n, p in self.policy.named_parameters() if not n.startswith(apart)}
        self._actor_parameters: list[Tensor] = list(self._actor.values())
        self._critic_parameters: list[Tensor] = list(self.critic.parameters())
        self._target_parameters: list[Tensor] = list(self.target.parameters())
        self._averaged: list[Tensor] = list(self.policy.parameters())
        self._averages: list[Tensor] = list(self.ema_policy.parameters())
        self._actor_adam = Adam(self._actor_parameters, config.actor_lr)
        self._critic_adam = Adam(self._critic_parameters, config.critic_lr)
        self._cloning_adams = [self._actor_adam]

    @property
    def statistics_frozen(self) -> bool:
        return bool(self.policy.normalizer.frozen)

    def freeze_statistics(self, statistics: Statistics) -> None:
        """Sets the normalisation of all networks from one frame's (mean, std). Raises ValueError when set before."""
        self.policy.freeze_statistics(statistics, self.config.std_floor)
        self.ema_policy.freeze_statistics(statistics, self.config.std_floor)

    def load_policy(self, snapshot: Snapshot) -> None:
        """Starts from a given policy and its statistics, and warms the critics up with the actor frozen.

        Raises:
            SnapshotError: where the policy is not of this run's spec, or its statistics were never set.
        """
        if found := spec_differences(self.spec, snapshot.spec):
            raise SnapshotError("the given policy does not fit this run: " + "; ".join(found))
        if not bool(snapshot.tensors["normalizer.frozen"]):
            raise SnapshotError("the given policy was never trained: its normalisation statistics are not set")
        load_tensors(self.policy, snapshot.tensors)
        load_tensors(self.ema_policy, snapshot.tensors)
        self._starts_pretrained()

    def clone(self, batch: Batch) -> dict[str, Tensor]:
        """One cloning update of actor and encoder on recorded actions; the moving averages follow at once."""
        observation = observation_tensors(batch.observation, self.spec, self.device)
        vectors = self._noisy_vectors(observation, "clone_observation")
        features = join(vectors, self.encoder.encode(observation, trained=True))
        loss = self._cloning_loss(features, observation, tensor(batch.action, self.device)).mean()
        wanted = chain.from_iterable(adam.state for adam in self._cloning_adams)
        gradients = torch.autograd.grad(loss, [*wanted, *self.encoder.parameters.values()])
        for adam in self._cloning_adams:
            adam.step(gradients)
            gradients = gradients[len(adam.state) :]
        self.encoder.step(gradients)
        torch._foreach_copy_(self._averages, self._averaged)
        self.clones += 1
        self._starts_pretrained()
        return {"clone_loss": loss.detach()}

    @abstractmethod
    def update(self, batch: Batch, actor: bool | None = None) -> dict[str, Tensor]:
        """One update of critics and encoder and, where due, of the actor.

        While the critics warm up, the encoder stays as it is too: the policy acts on what it gives.

        Args:
            batch: Sample of replay, n-step and stacked, its images shifted by up to ``shift_px``.
            actor: Whether the actor is updated; None for every ``actor_every``-th update. Never in critic warm-up.

        Returns:
            Metrics as 0-d tensors on the device, so that nothing waits for it.
        """

    def images_wanted(self, batch: Batch) -> tuple[np.ndarray, np.ndarray] | None:
        """All: see ``Algorithm``."""
        return None

    @abstractmethod
    def _cloning_loss(self, features: Tensor, observation: dict[str, Tensor], action: Tensor) -> Tensor:
        """How far the policy is from recorded actions (B, A) at features (B, F) of an observation, shape (B,)."""

    def _starts_pretrained(self) -> None:
        """The actor has just been cloned or given: all that follows it does so at once, and the critics come first."""
        self.pretrained = True
        self.encoder.average(1.0)
        self.encoder.forget()
        self.warmup_until = self.updates + self.config.critic_warmup_updates

    def _of_images(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Of gradients (B, F) to features, those (B, E) to the part that the encoder gave."""
        return [gradient[:, self.spec.vector_size :] for gradient in gradients]

    @torch.no_grad()
    def _noisy_vectors(self, observation: dict[str, Tensor], name: str) -> Tensor:
        """Normalised vectors with noise, (B, V); images have their random shift instead."""
        vectors, scale = self.policy.vectors(observation), self.config.input_noise
        return vectors.add_(self.noise.normal(name, tuple(vectors.shape)), alpha=scale) if scale else vectors

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything a resumed run needs: tensors by name, copied to the CPU, and JSON values."""
        self.encoder.forget()
        return save_state(self._tensors(), self.noise.generator, self._meta())

    def load_state(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Loads what ``state`` returned.

        Raises:
            StateError: with nothing changed, where anything is missing, unexpected or of another kind.
        """
        load_state(self._tensors(), self.noise.generator, self._meta(), tensors, meta)
        self.encoder.forget()
        self.pretrained = bool(meta["pretrained"])
        self.updates, self.clones, self.warmup_until = meta["updates"], meta["clones"], meta["warmup_until"]

    def _meta(self) -> dict[str, Any]:
        started = {"pretrained": int(self.pretrained)}
        counts = {"updates": self.updates, "clones": self.clones, "warmup_until": self.warmup_until}
        return {"algorithm": self.config.name, "encoder_sha256": self.spec.encoder_sha256, **counts, **started}

    def _tensors(self) -> dict[str, Tensor]:
        """Every tensor of a checkpoint, by name."""
        modules = {"policy": self.policy, "ema": self.ema_policy, "critic": self.critic, "target": self.target}
        networks = {f"{name}.{key}": value for name, m in modules.items() for key, value in m.state_dict().items()}
        critic_adam = self._critic_adam.tensors("critic_adam", dict(self.critic.named_parameters()))
        return {**networks, **critic_adam, **self.encoder.tensors()}


def join(vectors: Tensor, encoded: list[Tensor]) -> Tensor:
    """Features (B, F): vectors (B, V) and, after them, image features where there are any."""
    return torch.cat((vectors, *encoded), -1) if encoded else vectors
