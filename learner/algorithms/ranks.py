"""What an update does where several processes, the ranks, make it together: ``learner/distributed.py``.

Each rank has an equal share of the batch. Gradients of mean losses over the shares average to those over the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def rank_count() -> int:
    """Ranks that make every update together; 1 where this process is alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def averaged(gradients: Sequence[Tensor]) -> list[Tensor]:
    """The mean over all ranks of each tensor, by one all-reduce of them all; the tensors themselves with one rank."""
    ranks = rank_count()
    if ranks == 1 or not gradients:
        return list(gradients)
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= ranks
    parts = flat.split([gradient.numel() for gradient in gradients])
    # Strides stay those of the gradients, which a fused optimiser wants alike in parameter and gradient.
    means = [torch.empty_like(gradient) for gradient in gradients]
    torch._foreach_copy_(means, [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)])
    return means


def averaged_metrics(metrics: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Means over all ranks of 0-d tensors, by one all-reduce."""
    if rank_count() == 1 or not metrics:
        return dict(metrics)
    values = torch.stack([value.float() for value in metrics.values()])
    dist.all_reduce(values)
    return dict(zip(metrics, (values / rank_count()).unbind(), strict=True))


def share_of(whole: Tensor) -> Tensor:
    """This rank's rows of ``whole`` (B * ranks, ...): shape (B, ...)."""
    return whole if rank_count() == 1 else whole.chunk(rank_count())[dist.get_rank()]


@dataclass(frozen=True, slots=True)
class RankBatch:
    """B of the B * ranks transitions of a batch, as ``learner.windows.Batch`` has them.

    Attributes:
        observation, action, reward, discount, next_observation, toggles, rows, next_rows, generation, next_generation:
            As there.
            ``next_observation`` is empty where it was not asked for.
        share: As ``DeviceBatch.share`` of the whole batch, times the number of ranks,
            so that the mean over ranks is that over the whole batch, float32 (B,).
        human_share: The same of ``DeviceBatch.human_share``, float32 (B,).
    """

    observation: dict[str, Any]
    next_observation: dict[str, Any]
    action: Any
    reward: Any
    discount: Any
    share: Any
    human_share: Any
    toggles: Any
    rows: Any
    next_rows: Any
    generation: Any
    next_generation: Any
