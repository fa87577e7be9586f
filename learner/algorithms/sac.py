"""Soft actor-critic in the form of RLPD (arXiv 2302.02948) and HIL-SERL (arXiv 2410.21845).

With pi(a|s) = tanh(N(mean, std)), critics Q_1..Q_E, their targets Q', temperature alpha and a batch of n-step samples
(s, a, R, d, s'), where R = sum_i gamma^i r_i and d = gamma^k, or 0 where the task ended:

    y       = R + d * (reduce_e Q'_e(s', a') - alpha log pi(a'|s')),  a' ~ pi(.|s')     the last term if entropy_backup
    J_Q     = sum_e mean (Q_e(s, a) - y)^2
    J_pi    = mean (alpha log pi(a~|s) - reduce_e Q_e(s, a~)) - w mean_human log pi(a|s),  a~ ~ pi(.|s)
    J_alpha = mean -alpha (log pi(a~|s) + target_entropy)
    w       = clone_weight * exp(-updates / clone_decay_updates)
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from learner.algorithms.critics import CriticEnsemble
from learner.algorithms.noise import Noise
from learner.algorithms.sac_config import SACConfig
from learner.algorithms.state import adam, adam_tensors, load_state, save_state
from policies.gaussian import recorded_log_prob, squash
from policies.snapshot import Snapshot, SnapshotError, load_tensors
from policies.spec import PolicySpec, build_policy

if TYPE_CHECKING:
    from episodes.contract import Contract
    from learner.replay import Batch
    from policies.normalization import Statistics

__all__ = ["SAC", "SACConfig"]


def choose_device(name: str) -> torch.device:
    """``auto`` takes cuda, then cpu. Raises ValueError where the named device is not there.

    ``auto`` never takes mps: at these sizes the CPU of a Mac is quicker.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda", "mps"):
        raise ValueError(f"learner.device must be auto, cpu, cuda or mps. Got: {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("learner.device=cuda, and torch finds no CUDA device. Use learner.device=cpu or auto")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ValueError("learner.device=mps, and torch finds no MPS device. Use learner.device=cpu or auto")
    return torch.device(name)


class SAC:
    """One learner's networks, optimisers and random numbers.

    Attributes:
        config: Settings.
        spec: Of the policy.
        device: Where updates run.
        policy: The acting policy, being trained.
        ema_policy: Its exponential moving average.
        critic: Ensemble of critics over normalised features.
        target: Their target networks.
        log_temperature: Shape (1,).
        noise: Every random number of an update.
        updates: Critic updates so far.
        clones: Cloning updates so far.
        warmup_until: Critic updates before the actor moves.
        target_entropy: In nats.
        target_bounds: Least and greatest target, or None where targets are not clamped.
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
            self.critic = CriticEnsemble(spec.feature_size, spec.action_size, tuple(config.hidden), config.critics).to(
                self.device
            )
        self.ema_policy = copy.deepcopy(self.policy).requires_grad_(False)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.log_temperature = torch.full((1,), math.log(config.temperature_init), device=self.device)
        self.log_temperature.requires_grad_(True)
        self.noise = Noise(self.device, updating)
        self.updates = 0
        self.clones = 0
        self.warmup_until = 0
        self.target_entropy = config.target_entropy_per_action * spec.action_size
        clamped = config.clamp_targets and not config.entropy_backup
        self.target_bounds = contract.interface.reward.returns(config.gamma) if clamped else None
        self._policy_parameters: list[Tensor] = list(self.policy.parameters())
        self._ema_parameters: list[Tensor] = list(self.ema_policy.parameters())
        self._critic_parameters: list[Tensor] = list(self.critic.parameters())
        self._target_parameters: list[Tensor] = list(self.target.parameters())
        self._policy_adam = adam(self._policy_parameters, config.actor_lr)
        self._critic_adam = adam(self._critic_parameters, config.critic_lr)
        self._temperature_adam = adam([self.log_temperature], config.temperature_lr)

    @property
    def statistics_frozen(self) -> bool:
        return bool(self.policy.normalizer.frozen)

    def freeze_statistics(self, statistics: Statistics) -> None:
        """Sets the normalisation of all networks from one frame's (mean, std). Raises ValueError when set before."""
        self.policy.freeze_statistics(statistics, self.config.std_floor)
        self.ema_policy.freeze_statistics(statistics, self.config.std_floor)

    def load_policy(self, snapshot: Snapshot) -> None:
        """Starts from a given policy and its statistics, and warms the critic up with the actor frozen.

        Raises:
            SnapshotError: where the policy is not of this run's spec, or its statistics were never set.
        """
        if snapshot.spec != self.spec:
            raise SnapshotError(f"the given policy must have the spec {self.spec}. Got: {snapshot.spec}")
        if not bool(snapshot.tensors["normalizer.frozen"]):
            raise SnapshotError("the given policy was never trained: its normalisation statistics are not set")
        load_tensors(self.policy, snapshot.tensors)
        load_tensors(self.ema_policy, snapshot.tensors)
        self.warmup_until = self.updates + self.config.critic_warmup_updates

    def clone(self, batch: Batch) -> dict[str, Tensor]:
        """One cloning update of the actor on recorded actions; its moving average follows at once."""
        observation, action = self._observation(batch.observation), self._tensor(batch.action)
        with torch.no_grad():
            features = self._noisy(self.policy.features(observation), "clone_observation")
        mean, log_std = self.policy(features)
        if not self.config.clone_std:
            log_std = log_std.detach()
        loss = -recorded_log_prob(mean, log_std, action, self.config.action_edge).mean()
        self._step(self._policy_adam, self._policy_parameters, loss)
        torch._foreach_copy_(self._ema_parameters, self._policy_parameters)
        self.clones += 1
        self.warmup_until = self.updates + self.config.critic_warmup_updates
        return {"clone_loss": loss.detach()}

    def update(self, batch: Batch, actor: bool | None = None) -> dict[str, Tensor]:
        """One critic update and, where due, one of actor and temperature.

        Args:
            batch: Sample of replay, n-step and stacked.
            actor: Whether the actor is updated; None for every ``actor_every``-th update. Never in critic warm-up.

        Returns:
            Metrics as 0-d tensors on the device, so that nothing waits for it.
        """
        if actor is None:
            actor = self.updates % self.config.actor_every == 0
        actor = actor and self.updates >= self.warmup_until
        action, reward, discount = (self._tensor(a) for a in (batch.action, batch.reward, batch.discount))
        with torch.no_grad():
            features = self._noisy(self.policy.features(self._observation(batch.observation)), "observation")
            following = self.policy.features(self._observation(batch.next_observation))
            following = self._noisy(following, "next_observation")
        shown = batch.demonstration if batch.demonstration.all() else ~batch.demonstration
        share = self._tensor(shown / shown.sum())
        metrics = self._update_critic(features, action, reward, discount, following, share)
        if actor:
            metrics |= self._update_actor(features, action, self._tensor(batch.human))
        self.updates += 1
        return metrics

    def _update_critic(
        self, features: Tensor, action: Tensor, reward: Tensor, discount: Tensor, following: Tensor, share: Tensor
    ) -> dict[str, Tensor]:
        """``share`` (B,) is that of each transition in q_mean."""
        config = self.config
        with torch.no_grad():
            mean, log_std = self.policy(following)
            next_action, next_log_prob = squash(mean, log_std, self.noise.normal("next_action", tuple(mean.shape)))
            values = self.target(following, next_action)
            if config.critic_subset:
                values = values[self.noise.subset("critics", config.critics, config.critic_subset)]
            value = values.amin(0) if config.target_reduce == "min" else values.mean(0)
            if config.entropy_backup:
                value = value - self.log_temperature.exp() * next_log_prob
            target = reward + discount * value
            if self.target_bounds is not None:
                target.clamp_(*self.target_bounds)
        values = self.critic(features, action)
        loss = (values - target).square().mean(1).sum()
        self._step(self._critic_adam, self._critic_parameters, loss)
        torch._foreach_lerp_(self._target_parameters, self._critic_parameters, config.tau)
        return {
            "critic_loss": loss.detach() / config.critics,
            "q_mean": values.detach().mean(0) @ share,
            "target_mean": target.mean(),
        }

    def _update_actor(self, features: Tensor, action: Tensor, human: Tensor) -> dict[str, Tensor]:
        config = self.config
        mean, log_std = self.policy(features)
        new_action, log_prob = squash(mean, log_std, self.noise.normal("action", tuple(mean.shape)))
        values = self.critic(features, new_action)
        value = values.amin(0) if config.actor_reduce == "min" else values.mean(0)
        temperature = self.log_temperature.detach().exp()
        loss = (temperature * log_prob - value).mean()
        metrics = {"actor_loss": loss.detach(), "entropy": -log_prob.detach().mean()}
        weight = self.clone_weight
        if weight > 0:
            fit = log_std if config.clone_std else log_std.detach()
            recorded = recorded_log_prob(mean, fit, action, config.action_edge)
            clone_loss = -(recorded * human).sum() / human.sum().clamp(min=1)
            loss = loss + weight * clone_loss
            metrics["clone_loss"] = clone_loss.detach()
        self._step(self._policy_adam, self._policy_parameters, loss)
        torch._foreach_lerp_(self._ema_parameters, self._policy_parameters, config.ema)
        log_prob = log_prob.detach()
        self._step(
            self._temperature_adam,
            [self.log_temperature],
            -(self.log_temperature.exp() * (log_prob + self.target_entropy)).mean(),
        )
        return metrics | {"temperature": temperature.squeeze(0)}

    @property
    def clone_weight(self) -> float:
        """Weight of the cloning term on human actions at this update."""
        config = self.config
        if not config.clone_decay_updates:
            return config.clone_weight
        return config.clone_weight * math.exp(-self.updates / config.clone_decay_updates)

    def _noisy(self, features: Tensor, name: str) -> Tensor:
        scale = self.config.input_noise
        return features.add_(self.noise.normal(name, tuple(features.shape)), alpha=scale) if scale else features

    def _step(self, optimizer: torch.optim.Adam, parameters: list[Tensor], loss: Tensor) -> None:
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        optimizer.step()

    def _observation(self, observation: dict[str, np.ndarray]) -> dict[str, Tensor]:
        return {name: self._tensor(observation[name]) for name in self.spec.inputs}

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device, torch.float32, non_blocking=True)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything a resumed run needs: tensors by name, copied to the CPU, and JSON values."""
        return save_state(self._tensors(), self.noise.generator, self._meta())

    def load_state(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Loads what ``state`` returned.

        Raises:
            StateError: with nothing changed, where anything is missing, unexpected or of another kind.
        """
        load_state(self._tensors(), self.noise.generator, self._meta(), tensors, meta)
        self.updates, self.clones, self.warmup_until = meta["updates"], meta["clones"], meta["warmup_until"]

    def _meta(self) -> dict[str, Any]:
        return {
            "algorithm": "sac",
            "updates": self.updates,
            "clones": self.clones,
            "warmup_until": self.warmup_until,
        }

    def _tensors(self) -> dict[str, Tensor]:
        modules = {"policy": self.policy, "ema": self.ema_policy, "critic": self.critic, "target": self.target}
        return {
            **{
                f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()
            },
            **adam_tensors("policy_adam", self._policy_adam, dict(self.policy.named_parameters())),
            **adam_tensors("critic_adam", self._critic_adam, dict(self.critic.named_parameters())),
            **adam_tensors("temperature_adam", self._temperature_adam, {"log_temperature": self.log_temperature}),
            "log_temperature": self.log_temperature,
        }
