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

With clone_filter only actions with mean_e Q_e(s, a) > mean_e Q_e(s, a~) count in mean_human (1709.10089, section IV-C),
but where q_weight is 0: imitation asks no critic.
J_f trains the encoder and J_pi does not: the actor sees detached features, those that f gave before this update. Q'
sees s' through f, or through its moving average with ``target_encoder``. With ``gripper=discrete`` a is without the
gripper, for which ``learner.algorithms.gripper`` has a critic, and J_f has that critic's loss too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from learner.algorithms.actor_critic import ActorCritic, join
from learner.algorithms.adam import Adam
from learner.algorithms.critics import CriticEnsemble
from learner.algorithms.device_batch import device_batch
from learner.algorithms.feature_cache import Rows
from learner.algorithms.gripper import DiscreteGripper
from learner.algorithms.sac_config import SACConfig
from policies.gaussian import recorded_log_prob, squash
from policies.spec import PolicySpec

if TYPE_CHECKING:
    from episodes.contract import Contract
    from learner.replay import Batch

__all__ = ["SAC", "SACConfig"]


class SAC(ActorCritic):
    """SAC, beside what ``ActorCritic`` has.

    Attributes:
        fixed_critic: ``critic`` for the actor's loss, which trains none of it.
        gripper: What learns the gripper, where it is discrete.
        log_temperature: Shape (1,).
        target_entropy: In nats.
        target_bounds: Least and greatest target, or None where targets are not clamped.
    """

    def __init__(
        self, contract: Contract, config: SACConfig, spec: PolicySpec, *, device: str = "auto", seed: int = 0
    ) -> None:
        super().__init__(
            config,
            spec,
            lambda: CriticEnsemble(spec.feature_size, spec.continuous_size, tuple(config.hidden), config.critics),
            device=device,
            seed=seed,
            target_encoder=config.target_encoder,
            cached_copies=config.encoder_cache_copies if config.encoder_frozen == "cloned" else 0,
        )
        self.fixed_critic = self.critic.fixed()
        self.log_temperature = torch.full((1,), math.log(config.temperature_init), device=self.device)
        self.log_temperature.requires_grad_(True)
        self.target_entropy = config.target_entropy_per_action * spec.continuous_size
        clamped = config.clamp_targets and not config.entropy_backup
        self.target_bounds = contract.interface.reward.returns(config.gamma) if clamped else None
        self._temperature_adam = Adam([self.log_temperature], config.temperature_lr)
        self.gripper: DiscreteGripper | None = None
        if spec.discrete_gripper is not None:
            self.gripper = DiscreteGripper(self.policy, config, self.target_bounds)
            self._cloning_adams.append(self.gripper.adam)

    def update(self, batch: Batch, actor: bool | None = None) -> dict[str, Tensor]:
        """See ``ActorCritic``; the temperature is updated with the actor."""
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
        action = b.action if self.gripper is None else self.gripper.continuous(b.action)
        metrics, value, pulls = self._update_critic(features, action, target, b.share, trained)
        if self.gripper is not None:
            more, pull = self.gripper.update(
                features, following, target_following, b, updates=self.updates, trained=trained
            )
            metrics |= more
            pulls += self._of_images(pull)
        if actor:
            more, pull = self._update_actor(features, action, value, b.human_share, trained)
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
        return warm and bool(self.encoder.parameters) and trains(self.updates, cloned=self.pretrained)

    @property
    def _copies(self) -> tuple[int, int]:
        """Numbers of the kept copies of observations and of what follows that the next update sees, in other pairs in
        each round through all of them."""
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
        return metrics, value, self._of_images(gradients[len(self._critic_parameters) :])

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
        if config.clone_filter and config.q_weight:
            human_share = human_share * (action_value > values.detach().mean(0))
        if weight > 0:
            if trained and config.clone_encoder:
                # Features of its own: the rest of J_pi must not reach the encoder.
                wanted.append(features.detach().requires_grad_(True))
                mean, log_std = self.policy(wanted[-1])
            clone_loss = self._unlikelihood(mean, log_std, action) @ human_share
            loss = loss + weight * clone_loss
            metrics["clone_loss"] = clone_loss.detach()
        gradients = torch.autograd.grad(loss, wanted)
        self._actor_adam.step(gradients)
        j_alpha = temperature * (metrics["entropy"] - self.target_entropy)  # is also its gradient to log alpha
        self._temperature_adam.step([j_alpha.unsqueeze(0)])
        return metrics, self._of_images(gradients[len(self._actor_parameters) :])

    def _cloning_loss(self, features: Tensor, observation: dict[str, Tensor], action: Tensor) -> Tensor:
        """-log pi(a|s), and that of the gripper's class where it is discrete, shape (B,)."""
        mean, log_std = self.policy(features)
        if self.gripper is None:
            return self._unlikelihood(mean, log_std, action)
        loss = self._unlikelihood(mean, log_std, self.gripper.continuous(action))
        return loss + self.gripper.cloning_loss(self.gripper.critic(features), observation, action)

    def _unlikelihood(self, mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
        """-log pi(a|s), shape (B,)."""
        fit = log_std if self.config.clone_std else log_std.detach()
        return -recorded_log_prob(mean, fit, action, self.config.action_edge)

    def _starts_pretrained(self) -> None:
        super()._starts_pretrained()
        if self.gripper is not None:
            self.gripper.follow()

    def _tensors(self) -> dict[str, Tensor]:
        return {
            **super()._tensors(),
            **self._actor_adam.tensors("policy_adam", self._actor),
            **self._temperature_adam.tensors("temperature_adam", {"log_temperature": self.log_temperature}),
            **(self.gripper.tensors() if self.gripper is not None else {}),
            "log_temperature": self.log_temperature,
        }
