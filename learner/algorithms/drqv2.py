"""DrQ-v2 (arXiv 2107.09645): a deterministic policy from pixels, with demonstrations and interventions in its batches.

With an encoder f of randomly shifted images, critics Q_1 and Q_2 with targets Q', a policy pi, exploration's standard
deviation sigma and a batch of n-step samples (s, a, R, d, s'), where R = sum_i gamma^i r_i and d = gamma^k, or 0 where
the task ended, and h = f(s), h' = f(s'):

    y      = R + d * min_e Q'_e(h', a'),           a' = pi(h') + clip(eps, -c, c),  eps ~ N(0, sigma^2)
    J_Q    = sum_e mean (Q_e(h, a) - y)^2          trains the critics and f
    J_pi   = -mean min_e Q_e(h, a~)                trains pi alone,  a~ = pi(h) + clip(eps, -c, c)
    J_bc   = w mean_human |pi(h) - a|^2            trains pi and f; w = 0 as published
    w      = clone_weight * exp(-updates / clone_decay_updates)

Actions are kept in [-1, 1]; their gradient passes that limit unchanged, as in the authors' code. There is no target
encoder. sigma follows a linear schedule and is part of the policy, so that each version tells its actors. Normalised
vectors stand beside what the trunks of actor and critics make of h. Without images f and the trunks are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from learner.algorithms.actor_critic import ActorCritic, join
from learner.algorithms.device_batch import device_batch
from learner.algorithms.drqv2_config import DrQv2Config
from learner.algorithms.drqv2_critic import TrunkCritics
from policies.deterministic import DeterministicPolicy
from policies.spec import PolicySpec

if TYPE_CHECKING:
    from episodes.contract import Contract
    from learner.replay import Batch

__all__ = ["DrQv2", "DrQv2Config"]

_EDGE = 1e-6
"""Noisy actions stay this far inside -1 and 1, as in the authors' code."""


class DrQv2(ActorCritic):
    """DrQ-v2, beside what ``ActorCritic`` has.

    Attributes:
        target_bounds: Least and greatest target, or None where targets are not clamped.
    """

    policy: DeterministicPolicy

    def __init__(
        self, contract: Contract, config: DrQv2Config, spec: PolicySpec, *, device: str = "auto", seed: int = 0
    ) -> None:
        super().__init__(
            config,
            spec,
            lambda: TrunkCritics(
                spec.vector_size,
                spec.feature_size - spec.vector_size,
                spec.action_size,
                trunk_size=config.trunk_size,
                hidden=tuple(config.hidden),
            ),
            device=device,
            seed=seed,
        )
        self.target_bounds = contract.interface.reward.returns(config.gamma) if config.clamp_targets else None
        self._set_std()

    def update(self, batch: Batch, actor: bool | None = None) -> dict[str, Tensor]:
        """See ``ActorCritic``."""
        if actor is None:
            actor = self.updates % self.config.actor_every == 0
        warm = self.updates >= self.warmup_until
        trained = warm and bool(self.encoder.parameters)
        b = device_batch(batch, self.spec, self.device)
        vectors = self._noisy_vectors(b.observation, "observation")
        next_vectors = self._noisy_vectors(b.following, "next_observation")
        encoded = self.encoder.encode(b.observation, trained=trained)
        following = join(next_vectors, self.encoder.encode(b.following, trained=False))
        features = join(vectors, [e.detach() for e in encoded])
        target = self._target(following, b.reward, b.discount)
        metrics, pulls = self._update_critic(features, b.action, target, b.share, trained)
        if actor and warm:
            more, pull = self._update_actor(features, b.action, b.human_share, trained)
            metrics |= more
            pulls += pull
        if trained:
            self.encoder.train(encoded[0], pulls)
        if warm:
            torch._foreach_lerp_(self._averages, self._averaged, self.config.ema)
        metrics["exploration_std"] = self.policy.std.clone()
        self.updates += 1
        self._set_std()
        return metrics

    @torch.no_grad()
    def _target(self, following: Tensor, reward: Tensor, discount: Tensor) -> Tensor:
        """y (B,), where ``following`` (B, F) are the features of s'."""
        value = self.target(following, self._noisy_action(following, "next_action")).amin(0)
        target = reward + discount * value
        return target if self.target_bounds is None else target.clamp_(*self.target_bounds)

    def _update_critic(
        self, features: Tensor, action: Tensor, target: Tensor, share: Tensor, trained: bool
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Metrics, and the gradient (B, E) of J_Q to image features where the encoder is ``trained``.

        ``share`` (B,) is that of each transition in q_mean.
        """
        features = features.detach().requires_grad_(trained)
        values = self.critic(features, action)
        loss = (values - target).square().mean(1).sum()
        gradients = torch.autograd.grad(loss, [*self._critic_parameters, *([features] if trained else [])])
        self._critic_adam.step(gradients)
        torch._foreach_lerp_(self._target_parameters, self._critic_parameters, self.config.tau)
        metrics = {
            "critic_loss": loss.detach() / self.critic.critics,
            "q_mean": values.detach().mean(0) @ share,
            "target_mean": target.mean(),
        }
        return metrics, self._of_images(gradients[len(self._critic_parameters) :])

    def _update_actor(
        self, features: Tensor, action: Tensor, human_share: Tensor, trained: bool
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Metrics, and the gradient (B, E) of J_bc to image features where there is one and they are ``trained``."""
        loss = -self.critic(features, self._noisy_action(features, "action")).amin(0).mean()
        metrics = {"actor_loss": loss.detach()}
        wanted = list(self._actor_parameters)
        if (weight := self.config.clone_weight_at(self.updates)) > 0:
            # A leaf of its own: J_pi must not reach the encoder.
            pulled = features.detach().requires_grad_(trained)
            wanted += [pulled] if trained else []
            clone_loss = self._cloning_loss(pulled, {}, action) @ human_share
            loss = loss + weight * clone_loss
            metrics["clone_loss"] = clone_loss.detach()
        gradients = torch.autograd.grad(loss, wanted)
        self._actor_adam.step(gradients)
        return metrics, self._of_images(gradients[len(self._actor_parameters) :])

    def _noisy_action(self, features: Tensor, name: str) -> Tensor:
        """The policy's action (B, A) with clipped noise, inside [-1, 1]; its gradient is that of the policy alone."""
        mean = self.policy(features)
        clip = self.config.noise_clip
        noise = (self.policy.std * self.noise.normal(name, tuple(mean.shape))).clamp_(-clip, clip)
        inside = (mean.detach() + noise).clamp_(-1 + _EDGE, 1 - _EDGE)
        return mean + (inside - mean.detach())

    def _cloning_loss(self, features: Tensor, observation: dict[str, Tensor], action: Tensor) -> Tensor:
        """|pi(h) - a|^2, shape (B,)."""
        return (self.policy(features) - action).square().sum(-1)

    def _starts_pretrained(self) -> None:
        super()._starts_pretrained()
        self._set_std()

    def _set_std(self) -> None:
        std = self.config.exploration_std(self.updates, pretrained=self.pretrained)
        self.policy.std.fill_(std)
        self.ema_policy.std.fill_(std)

    def _tensors(self) -> dict[str, Tensor]:
        return {**super()._tensors(), **self._actor_adam.tensors("actor_adam", self._actor)}
