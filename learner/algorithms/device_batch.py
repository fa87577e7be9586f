"""A batch as tensors where updates run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from learner.algorithms.feature_cache import Rows
from learner.algorithms.ranks import RankBatch

if TYPE_CHECKING:
    from learner.replay import Batch
    from policies.spec import PolicySpec


@dataclass(frozen=True, slots=True)
class DeviceBatch:
    """B transitions on the device.

    Attributes:
        observation: What the policy sees: vectors float32 (B, S * D), images uint8 (B, H, W, 3 * S), by name.
        action: Chosen actions, float32 (B, A).
        reward: Sum of discounted rewards, float32 (B,).
        discount: Of the value after them, float32 (B,).
        toggles: Discounted count of the window's steps that change the gripper's side, float32 (B,); None without a
            discrete gripper.
        following: Like ``observation``, after the last step.
        human_share: Share of each transition in means over those whose action a person chose, float32 (B,).
        share: Share of each transition in means over the online ones, or over all where there is none, float32 (B,).
        rows: Where the observations are in the replay buffer; None where no replay buffer made the batch.
        next_rows: The same of what follows.
    """

    observation: dict[str, Tensor]
    action: Tensor
    reward: Tensor
    discount: Tensor
    toggles: Tensor | None
    following: dict[str, Tensor]
    human_share: Tensor
    share: Tensor
    rows: Rows | None
    next_rows: Rows | None


def device_batch(batch: Batch | RankBatch, spec: PolicySpec, device: torch.device) -> DeviceBatch:
    """A batch of numpy arrays or tensors, moved to ``device``. Nothing waits for the device."""
    if isinstance(batch, RankBatch):
        share, human_share = batch.share, batch.human_share
    else:
        share, human_share = transition_shares(batch.demonstration, batch.human)
    from_replay = bool(len(getattr(batch, "rows", ())))
    return DeviceBatch(
        observation=observation_tensors(batch.observation, spec, device),
        action=tensor(batch.action, device),
        reward=tensor(batch.reward, device),
        discount=tensor(batch.discount, device),
        toggles=tensor(batch.toggles, device) if spec.discrete_gripper else None,
        following=observation_tensors(batch.next_observation, spec, device),
        human_share=tensor(human_share, device),
        share=tensor(share, device),
        rows=Rows(batch.rows, batch.generation) if from_replay else None,
        next_rows=Rows(batch.next_rows, batch.next_generation) if from_replay else None,
    )


def transition_shares(demonstration: Any, human: Any) -> tuple[Any, Any]:
    """``DeviceBatch.share`` and ``DeviceBatch.human_share``, of two numpy arrays or tensors, bool (B,)."""
    online = ~demonstration
    shown = online | (online.sum() == 0)
    return shown / shown.sum(), human / human.sum().clip(1)


def observation_tensors(observation: dict[str, Any], spec: PolicySpec, device: torch.device) -> dict[str, Tensor]:
    """The vectors and images that a policy of this spec sees, moved to ``device``."""
    vectors = {name: tensor(observation[name], device) for name in spec.inputs}
    return vectors | {name: tensor(observation[name], device, torch.uint8) for name in spec.images}


def tensor(array: Any, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """A numpy array or a tensor, as a tensor on ``device``."""
    return torch.as_tensor(array).to(device, dtype, non_blocking=True)
