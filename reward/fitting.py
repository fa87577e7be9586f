"""Fits the network to labelled frames: balanced batches, augmentation, early stopping on episodes of their own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from policies.pretrained import WeightsFile
from reward.augmentation import augmented
from reward.config import RewardError
from reward.frames import LabelledFrames
from reward.network import ClassifierNetwork, NetworkSpec
from reward.preprocessing import Preprocessing

_SMOOTHING = 0.01
"""Taken from every label, so that no frame is fitted with certainty."""
_OTHER_DAYS = 2
"""Copies of the stopping frames as other days could show them, looked at besides the frames as they are: these alone
are soon told apart, by a network that other light would mislead."""


@dataclass(frozen=True)
class FitConfig:
    """How one network is fitted.

    Attributes:
        max_steps: Most steps of the optimiser.
        check_every: Steps from one look at the stopping episodes to the next.
        patience: Looks without a better loss after which it ends.
        batch_size: Half of it success, half not.
        lr, weight_decay: Of AdamW.
        hard_share: Share of hard negatives among the negatives of a batch, where there are any.
    """

    max_steps: int = 400
    check_every: int = 40
    patience: int = 4
    batch_size: int = 48
    lr: float = 1e-3
    weight_decay: float = 1e-2
    hard_share: float = 0.5


@dataclass(frozen=True)
class Fitted:
    """A fitted network.

    Attributes:
        network: As it was at its best look at the stopping episodes.
        steps: Steps until then.
        loss: ``balanced_loss`` on the stopping episodes then, as they are and as other days could show them.
    """

    network: ClassifierNetwork
    steps: int
    loss: float


def fit(
    spec: NetworkSpec,
    preprocessing: Preprocessing,
    train: LabelledFrames,
    stop: LabelledFrames,
    config: FitConfig,
    *,
    seed: int,
    weights: WeightsFile | None = None,
    on_check: Callable[[int, float], None] = lambda step, loss: None,
) -> Fitted:
    """Fits a new network to ``train``; ``stop`` holds other episodes, which say when to stop and nothing else.

    Raises RewardError where no look at the stopping episodes gave a finite loss.

    Args:
        spec: Of the network.
        preprocessing: The one it will run with.
        train, stop: Both have frames of both classes, as ``reward.frames.folds`` gives them.
        config: How.
        seed: Of weights, batches and augmentation.
        weights: File of the frozen encoder, where there is one.
        on_check: Told the step and the loss at every look.
    """
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ClassifierNetwork(spec)
        if network.trunk is not None and weights is not None:
            network.trunk.load(weights.data)
        optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.max_steps, config.lr / 20)
        best, best_steps, best_loss, worse = copy.deepcopy(network), 0, np.inf, 0
        days = [stop, *(stop.showing(augmented(stop.images, rng)) for _ in range(_OTHER_DAYS))]
        for step in range(1, config.max_steps + 1):
            rows = balanced_rows(train, config, rng)
            images = preprocessing(augmented(train.at(rows), rng))
            wanted = torch.from_numpy(softened(train.positive[rows]))
            network.train()
            loss = F.binary_cross_entropy_with_logits(network(images), wanted)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % config.check_every and step < config.max_steps:
                continue
            found = float(np.mean([balanced_loss(logits_of(network, preprocessing, d), d.positive) for d in days]))
            on_check(step, found)
            worse += 1
            if found < best_loss:
                best, best_steps, best_loss, worse = copy.deepcopy(network), step, found, 0
            elif worse >= config.patience:
                break
    if not np.isfinite(best_loss):
        raise RewardError(
            f"training gave no network: none of its log losses on {len(stop)} frames of other episodes was finite, "
            f"the last was {found}. Are there frames of both classes?"
        )
    return Fitted(best.eval(), best_steps, float(best_loss))


def balanced_rows(frames: LabelledFrames, config: FitConfig, rng: np.random.Generator) -> np.ndarray:
    """Rows of one batch: half success; of the rest ``hard_share`` hard negatives, where there are any."""
    positive, hard = frames.positive, frames.hard
    half = config.batch_size // 2
    chosen = [rng.choice(np.flatnonzero(positive), half)]
    left = config.batch_size - half
    if hard.any():
        of_hard = round(left * config.hard_share) if (~positive & ~hard).any() else left
        chosen.append(rng.choice(np.flatnonzero(hard), of_hard))
        left -= of_hard
    if left:
        chosen.append(rng.choice(np.flatnonzero(~positive & ~hard), left))
    return np.concatenate(chosen)


@torch.inference_mode()
def logits_of(
    network: ClassifierNetwork,
    preprocessing: Preprocessing,
    frames: LabelledFrames,
    rows: np.ndarray | None = None,
    shown: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = lambda images: images,
    batch: int = 256,
) -> np.ndarray:
    """Uncalibrated logits, float64 (R,), of the frames ``rows`` (R,), or of all; ``shown`` changes the images first."""
    network.eval()
    rows = np.arange(len(frames)) if rows is None else rows
    blocks = (rows[i : i + batch] for i in range(0, len(rows), batch))
    return torch.cat([network(preprocessing(shown(frames.at(block)))) for block in blocks]).double().numpy()


def softened(positive: np.ndarray) -> np.ndarray:
    """Labels, bool (N,), as networks are fitted to them, float32 (N,)."""
    return positive.astype(np.float32) * (1 - 2 * _SMOOTHING) + _SMOOTHING


def balanced_loss(logits: np.ndarray, positive: np.ndarray) -> float:
    """Mean of the two classes' cross entropies with the labels that networks are fitted to; their own, 0.056, is the
    least there is. With the bare labels a network that is surer than it was fitted to be would look better."""
    losses = np.logaddexp(0.0, logits) - softened(positive) * logits
    return float(losses[positive].mean() + losses[~positive].mean()) / 2
