"""A discrete gripper beside a continuous action, as HIL-SERL has it (arXiv 2410.21845): double DQN (1509.06461) over
close, stay and open, with a penalty for each change of side.

With k and k' the classes of ``policies.gripper``, c and c' the last commands that s and s' show, K(c) the classes that
are there, t_i whether the i-th step of the window changes the gripper's side, p the penalty and tau the temperature:

    y_g = R + p sum_i gamma^i t_i + d Q_g'(s', argmax_{k' in K(c')} Q_g(s', k'))
    J_g = q_weight mean (Q_g(s, k) - y_g)^2 - w mean_human log softmax_{K(c)}(Q_g(s, .) / tau)_k

The argmax over K(c) of Q_g(s, .) acts, in training as in evaluation. Only Q_g is penalised: the critics of the
continuous components see the rewards, and neither see nor choose the gripper's. J_g trains the encoder as J_Q does.
With ``clone_filter`` w is 0: no other class is ever valued above the one that acts.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from learner.algorithms.adam import Adam
from policies.gripper_critic import greedy, of_those_there

if TYPE_CHECKING:
    from learner.algorithms.device_batch import DeviceBatch
    from learner.algorithms.sac_config import SACConfig
    from policies.gripper import Gripper


class DiscreteGripper:
    """The gripper critic of a policy, its target and its optimiser.

    Attributes:
        codec: Where the gripper is, and its classes.
        critic: Q_g, the policy's own.
        target: Q_g'.
        adam: Of the critic.

    Args:
        policy: Of the run, with a ``gripper_critic``.
        config: Settings.
        returns: Least and greatest return; None where targets are not clamped.
    """

    def __init__(self, policy: Any, config: SACConfig, returns: tuple[float, float] | None) -> None:
        self.codec: Gripper = policy.gripper
        self.critic = policy.gripper_critic
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.adam = Adam(list(self.critic.parameters()), config.critic_lr)
        self._config = config
        self._parameters: list[Tensor] = list(self.critic.parameters())
        self._target_parameters: list[Tensor] = list(self.target.parameters())
        worst = config.gripper_penalty / (1 - config.gamma)
        self._bounds = None if returns is None else (returns[0] + worst, returns[1])

    def continuous(self, action: Tensor) -> Tensor:
        """The other components (B, A - 1) of actions (B, A)."""
        at = self.codec.component
        return torch.cat((action[:, :at], action[:, at + 1 :]), -1)

    def cloning_loss(self, values: Tensor, observation: dict[str, Tensor], action: Tensor) -> Tensor:
        """-log of the share, shape (B,), that values (B, 3) give the classes of recorded actions (B, A)."""
        last = self.codec.last_command(observation)
        logits = of_those_there(values / self._config.gripper_temperature, last)
        return F.cross_entropy(logits, self.codec.classes(action, last), reduction="none")

    def update(
        self,
        features: Tensor,
        following: Tensor,
        target_following: Tensor,
        batch: DeviceBatch,
        *,
        updates: int,
        trained: bool,
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """One step along J_g; the target follows.

        Args:
            features: Of s, (B, F).
            following: Of s', as Q_g sees it, (B, F).
            target_following: Of s', as Q_g' sees it, (B, F).
            batch: The transitions.
            updates: So far, of the critics.
            trained: Whether the encoder is.

        Returns:
            Metrics, and the gradient (B, F) of J_g to ``features`` where the encoder is ``trained``.
        """
        config = self._config
        features = features.detach().requires_grad_(trained)
        values = self.critic(features)
        recorded = self.codec.classes(batch.action, self.codec.last_command(batch.observation))
        error = values.gather(1, recorded.unsqueeze(1)).squeeze(1) - self._target(following, target_following, batch)
        temporal = error.square().mean()
        loss = config.q_weight * temporal
        weight = 0.0 if config.clone_filter else config.clone_weight_at(updates)
        if weight > 0:
            shown = values if config.clone_encoder or not trained else self.critic(features.detach())
            loss = loss + weight * (self.cloning_loss(shown, batch.observation, batch.action) @ batch.human_share)
        gradients = torch.autograd.grad(loss, [*self._parameters, *([features] if trained else [])])
        self.adam.step(gradients)
        torch._foreach_lerp_(self._target_parameters, self._parameters, config.tau)
        return {"gripper_loss": temporal.detach()}, list(gradients[len(self._parameters) :])

    @torch.no_grad()
    def _target(self, following: Tensor, target_following: Tensor, batch: DeviceBatch) -> Tensor:
        """y_g (B,)."""
        chosen = greedy(self.critic(following), self.codec.last_command(batch.following))
        value = self.target(target_following).gather(1, chosen.unsqueeze(1)).squeeze(1)
        assert batch.toggles is not None
        target = batch.reward + self._config.gripper_penalty * batch.toggles + batch.discount * value
        return target if self._bounds is None else target.clamp_(*self._bounds)

    def follow(self) -> None:
        """The target takes over the critic: the policy has just been cloned or given."""
        torch._foreach_copy_(self._target_parameters, self._parameters)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint needs beside the policy, by name."""
        target = {f"gripper_target.{name}": value for name, value in self.target.state_dict().items()}
        return target | self.adam.tensors("gripper_adam", dict(self.critic.named_parameters()))
