"""Soft actor-critic in the form of RLPD (arXiv 2302.02948) and HIL-SERL (arXiv 2410.21845), on vectors and images.

With s the normalised vectors and, after them, the features that an encoder f gives of the images,
pi(a|s) = tanh(N(mean, std)), critics Q_1..Q_E, their targets Q', temperature alpha and a batch of n-step samples
(s, a, R, d, s'), where R = sum_i gamma^i r_i and d = gamma^k, or 0 where the task ended:

    y       = R + d * (reduce_e Q'_e(s', a') - alpha log pi(a'|s')),  a' ~ pi(.|s')     the last term if entropy_backup
    J_Q     = sum_e mean (Q_e(s, a) - y)^2
    J_f     = J_Q - w mean_human log pi(a|s)                                            the last term if clone_encoder
    J_pi    = q_weight mean (alpha log pi(a~|s) - reduce_e Q_e(s, a~)) - w mean_human log pi(a|s),  a~ ~ pi(.|s)
    J_alpha = mean -alpha (log pi(a~|s) + target_entropy)
    w       = clone_weight * exp(-updates / clone_decay_updates)

With clone_filter only actions with mean_e Q_e(s, a) > mean_e Q_e(s, a~) count in mean_human (1709.10089, section IV-C).
J_f trains the encoder and J_pi does not: the actor sees detached features, those that f gave before this update. Q'
sees s' through f, or through its moving average with ``target_encoder``.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from learner.algorithms.actor_critic import ActorCritic, join
from learner.algorithms.adam import Adam
from learner.algorithms.critics import CriticEnsemble
from learner.algorithms.device import choose_device
from learner.algorithms.device_batch import device_batch, observation_tensors, tensor
from learner.algorithms.feature_cache import Rows
from learner.algorithms.noise import Noise
from learner.algorithms.sac_config import SACConfig
from learner.algorithms.shared_encoder import SharedEncoder
from learner.algorithms.state import load_state, save_state
from policies.gaussian import recorded_log_prob, squash
from policies.snapshot import Snapshot
from policies.spec import PolicySpec, build_policy

if TYPE_CHECKING:
    from episodes.contract import Contract
    from learner.replay import Batch

__all__ = ["SAC", "SACConfig", "choose_device"]


class SAC(ActorCritic):
    """One learner's networks, optimisers and random numbers.

    Attributes:
        config: Settings.
        spec: Of the policy.
        device: Where updates run.
        policy: The acting policy, being trained.
        ema_policy: Its exponential moving average.
        critic: Ensemble of critics over features.
        target: Their target networks.
        fixed_critic: ``critic`` for the actor's loss, which trains none of it.
        encoder: The image encoder that all share.
        log_temperature: Shape (1,).
        noise: Every random number of an update.
        updates: Critic updates so far.
        clones: Cloning updates so far.
        warmup_until: Critic updates before actor and encoder move.
        target_entropy: In nats.
        target_bounds: Least and greatest target, or None where targets are not clamped.
        shift_px: Random shift of images that batches are to come with, in pixels; 0 without images.
    """

    def __init__(
        self, contract: Contract, config: SACConfig, spec: PolicySpec, *, device: str = "auto", seed: int = 0
    ) -> None:
        self.config = config
        self.spec = spec
        self.device = choose_device(device)
        initial, updating = (int(s) for s in np.random.SeedSequence(seed).generate_state(2))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(initial)
            self.policy = build_policy(spec).to(self.device)
            critic = CriticEnsemble(spec.feature_size, spec.action_size, tuple(config.hidden), config.critics)
            self.critic = critic.to(self.device)
        copies = config.encoder_cache_copies if config.encoder_frozen == "cloned" else 0
        self.encoder = SharedEncoder(
            self.policy.encoder, lr=config.encoder_lr, averaged=config.target_encoder, cached_copies=copies
        )
        self.ema_policy = copy.deepcopy(self.policy).requires_grad_(False)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.fixed_critic = self.critic.fixed()
        self.log_temperature = torch.full((1,), math.log(config.temperature_init), device=self.device)
        self.log_temperature.requires_grad_(True)
        self.noise = Noise(self.device, updating)
        self.updates = 0
        self.clones = 0
        self.warmup_until = 0
        self.shift_px = config.shift_px if spec.images else 0
        self.target_entropy = config.target_entropy_per_action * spec.action_size
        clamped = config.clamp_targets and not config.entropy_backup
        self.target_bounds = contract.interface.reward.returns(config.gamma) if clamped else None
        self._actor = {n: p for n, p in self.policy.named_parameters() if not n.startswith("encoder.")}
        self._actor_parameters: list[Tensor] = list(self._actor.values())
        self._critic_parameters: list[Tensor] = list(self.critic.parameters())
        self._averages: list[Tensor] = list(self.ema_policy.parameters())
        self._averaged: list[Tensor] = list(self.policy.parameters())
        self._target_parameters: list[Tensor] = list(self.target.parameters())
        self._policy_adam = Adam(self._actor_parameters, config.actor_lr)
        self._critic_adam = Adam(self._critic_parameters, config.critic_lr)
        self._temperature_adam = Adam([self.log_temperature], config.temperature_lr)

    def load_policy(self, snapshot: Snapshot) -> None:
        """Starts from a given policy and its statistics, and warms the critic up with the actor frozen.

        Raises:
            SnapshotError: where the policy is not of this run's spec, or its statistics were never set.
        """
        self._take_policy(snapshot)
        self.encoder.average(1.0)
        self.encoder.forget()
        self.warmup_until = self.updates + self.config.critic_warmup_updates

    def clone(self, batch: Batch) -> dict[str, Tensor]:
        """One cloning update of actor and encoder on recorded actions; the moving averages follow at once."""
        observation = observation_tensors(batch.observation, self.spec, self.device)
        vectors = self._noisy_vectors(observation, "clone_observation")
        mean, log_std = self.policy(join(vectors, self.encoder.encode(observation, trained=True)))
        loss = self._clone_loss(mean, log_std, tensor(batch.action, self.device)).mean()
        gradients = torch.autograd.grad(loss, [*self._actor_parameters, *self.encoder.parameters.values()])
        self._policy_adam.step(gradients)
        self.encoder.step(gradients[len(self._actor_parameters) :])
        torch._foreach_copy_(self._averages, self._averaged)
        self.encoder.average(1.0)
        self.clones += 1
        self.warmup_until = self.updates + self.config.critic_warmup_updates
        return {"clone_loss": loss.detach()}

    def update(self, batch: Batch, actor: bool | None = None) -> dict[str, Tensor]:
        """One update of critics and encoder and, where due, one of actor and temperature.

        While the critics warm up, the encoder stays as it is too: the policy acts on what it gives.

        Args:
            batch: Sample of replay, n-step and stacked, its images shifted by up to ``shift_px``.
            actor: Whether the actor is updated; None for every ``actor_every``-th update. Never in critic warm-up.

        Returns:
            Metrics as 0-d tensors on the device, so that nothing waits for it.
        """
        warm = self.updates >= self.warmup_until
        actor = warm and (self.updates % self.config.actor_every == 0 if actor is None else actor)
        trained = self._trains_encoder
        b = device_batch(batch, self.spec, self.device)
        vectors = self._noisy_vectors(b.observation, "observation")
        next_vectors = self._noisy_vectors(b.following, "next_observation")
        copy, next_copy = self._copies
        encoded = self.encoder.encode(b.observation, trained=trained, at=b.rows, copy=copy)
        next_encoded = self.encoder.encode(b.following, trained=False, at=b.next_rows, copy=next_copy)
        target_encoded = self.encoder.encode_target(b.following, next_encoded)
        following, target_following = join(next_vectors, next_encoded), join(next_vectors, target_encoded)
        target = self._target(following, target_following, b.reward, b.discount)
        features = join(vectors, [e.detach() for e in encoded])
        metrics, value, pulls = self._update_critic(features, b.action, target, b.share, trained)
        if actor:
            more, pull = self._update_actor(features, b.action, value, b.human_share, trained)
            metrics |= more
            pulls += pull
        if trained:
            self.encoder.train(encoded[0], pulls)
            self.encoder.average(self.config.tau)
        if actor:
            torch._foreach_lerp_(self._averages, self._averaged, self.config.ema)
        self.updates += 1
        return metrics

    def images_wanted(self, batch: Batch) -> tuple[np.ndarray, np.ndarray] | None:
        """See ``Algorithm``: with a frozen encoder, those whose features are not kept yet."""
        if self._trains_encoder or not len(batch.rows):
            return None
        at, following = Rows(batch.rows, batch.generation), Rows(batch.next_rows, batch.next_generation)
        copy, next_copy = self._copies
        wanted, next_wanted = self.encoder.unknown(at, copy), self.encoder.unknown(following, next_copy)
        return None if wanted is None or next_wanted is None else (wanted, next_wanted)

    @property
    def _trains_encoder(self) -> bool:
        """Whether the next update does."""
        warm, trains = self.updates >= self.warmup_until, self.config.trains_encoder
        return warm and bool(self.encoder.parameters) and trains(self.updates, cloned=self.clones > 0)

    @property
    def _copies(self) -> tuple[int, int]:
        """Numbers of the kept copies of observations and of what follows that the next update sees: never the same, and
        others in each round through all of them."""
        return self.updates, self.updates + 1 + self.updates // max(self.config.encoder_cache_copies, 1)

    @torch.no_grad()
    def _target(self, following: Tensor, target_following: Tensor, reward: Tensor, discount: Tensor) -> Tensor:
        """y (B,), where pi sees ``following`` and Q' sees ``target_following``, (B, F) both."""
        config = self.config
        mean, log_std = self.policy(following)
        next_action, next_log_prob = squash(mean, log_std, self.noise.normal("next_action", tuple(mean.shape)))
        values = self.target(target_following, next_action)
        if config.critic_subset:
            values = values[self.noise.subset("critics", config.critics, config.critic_subset)]
        value = values.amin(0) if config.target_reduce == "min" else values.mean(0)
        if config.entropy_backup:
            value = value - self.log_temperature.exp() * next_log_prob
        target = reward + discount * value
        return target if self.target_bounds is None else target.clamp_(*self.target_bounds)

    def _update_critic(
        self, features: Tensor, action: Tensor, target: Tensor, share: Tensor, trained: bool
    ) -> tuple[dict[str, Tensor], Tensor, list[Tensor]]:
        """Metrics, mean_e Q_e(s, a) (B,), and the gradient (B, E) of J_Q to image features where they are ``trained``.

        ``share`` (B,) is that of each transition in q_mean.
        """
        features = features.detach().requires_grad_(trained)
        values = self.critic(features, action)
        error, wanted = values.detach() - target, [*self._critic_parameters, *([features] if trained else [])]
        gradients = torch.autograd.grad(values, wanted, error * (2 / len(target)))  # that of J_Q to Q
        self._critic_adam.step(gradients)
        torch._foreach_lerp_(self._target_parameters, self._critic_parameters, self.config.tau)
        value = values.detach().mean(0)
        metrics = {"critic_loss": error.square().mean(), "q_mean": value @ share, "target_mean": target.mean()}
        return metrics, value, [g[:, self.spec.vector_size :] for g in gradients[len(self._critic_parameters) :]]

    def _update_actor(
        self, features: Tensor, action: Tensor, action_value: Tensor, human_share: Tensor, trained: bool
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Metrics, and the gradient (B, E) of the cloning term to image features where the encoder is ``trained``."""
        config = self.config
        mean, log_std = self.policy(features)
        new_action, log_prob = squash(mean, log_std, self.noise.normal("action", tuple(mean.shape)))
        values = self.fixed_critic(features, new_action)
        value = values.amin(0) if config.actor_reduce == "min" else values
        temperature, mean_log_prob = self.log_temperature.detach().exp().squeeze(0), log_prob.mean()
        loss = config.q_weight * (temperature * mean_log_prob - value.mean())
        metrics = {"actor_loss": loss.detach(), "entropy": -mean_log_prob.detach(), "temperature": temperature}
        wanted = list(self._actor_parameters)
        weight = config.clone_weight_at(self.updates)
        if config.clone_filter:
            human_share = human_share * (action_value > values.detach().mean(0))
        if weight > 0:
            if trained and config.clone_encoder:
                # Features of its own: the rest of J_pi must not reach the encoder.
                wanted.append(features.detach().requires_grad_(True))
                mean, log_std = self.policy(wanted[-1])
            clone_loss = self._clone_loss(mean, log_std, action) @ human_share
            loss = loss + weight * clone_loss
            metrics["clone_loss"] = clone_loss.detach()
        gradients = torch.autograd.grad(loss, wanted)
        self._policy_adam.step(gradients)
        j_alpha = temperature * (metrics["entropy"] - self.target_entropy)  # is also its gradient to log alpha
        self._temperature_adam.step([j_alpha.unsqueeze(0)])
        pulls = [g[:, self.spec.vector_size :] for g in gradients[len(self._actor_parameters) :]]
        return metrics, pulls

    def _clone_loss(self, mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
        """-log pi(a|s), shape (B,)."""
        fit = log_std if self.config.clone_std else log_std.detach()
        return -recorded_log_prob(mean, fit, action, self.config.action_edge)

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
        self.updates, self.clones, self.warmup_until = meta["updates"], meta["clones"], meta["warmup_until"]

    def _meta(self) -> dict[str, Any]:
        counts = {"updates": self.updates, "clones": self.clones, "warmup_until": self.warmup_until}
        return {"algorithm": "sac", "encoder_sha256": self.spec.encoder_sha256, **counts}

    def _tensors(self) -> dict[str, Tensor]:
        modules = {"policy": self.policy, "ema": self.ema_policy, "critic": self.critic, "target": self.target}
        networks = {f"{name}.{key}": value for name, m in modules.items() for key, value in m.state_dict().items()}
        return {
            **networks,
            **self._policy_adam.tensors("policy_adam", self._actor),
            **self._critic_adam.tensors("critic_adam", dict(self.critic.named_parameters())),
            **self._temperature_adam.tensors("temperature_adam", {"log_temperature": self.log_temperature}),
            **self.encoder.tensors(),
            "log_temperature": self.log_temperature,
        }
