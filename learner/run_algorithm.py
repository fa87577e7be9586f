"""The algorithm of a run, as its settings ask for it: the same in every rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from episodes.contract import Contract
from learner.algorithms import build_algorithm
from learner.config import LearnerConfig

if TYPE_CHECKING:
    from learner.algorithms import Algorithm


def run_algorithm(config: LearnerConfig, contract: Contract) -> Algorithm:
    """The algorithm that ``config`` names, newly initialised. Raises ValueError as ``build_algorithm`` does."""
    import torch

    if config.torch_threads:
        torch.set_num_threads(config.torch_threads)
    algorithm = build_algorithm(contract, config.algorithm, device=config.device, seed=config.acting.seed)
    if config.autocast == "bfloat16":
        algorithm.encoder.autocast = torch.bfloat16
    return algorithm
