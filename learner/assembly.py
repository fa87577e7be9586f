"""The parts of a learner that trains, made from its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from episodes.contract import Contract
from learner.algorithms import discrete_gripper
from learner.config import ConfigError, LearnerConfig
from learner.console import Console
from learner.distributed import lead, started_ranks
from learner.ingest import Ingest
from learner.publisher import PolicyPublisher
from learner.replay import ReplayBuffer, replay_device
from learner.reporting import Reporter
from learner.run_algorithm import run_algorithm
from learner.run_folder import RunFolder, plain
from learner.training import Trainer
from metrics.tracker import make_tracker

if TYPE_CHECKING:
    import torch

    from learner.algorithms import Algorithm


def make_trainer(
    config: LearnerConfig,
    folder: RunFolder,
    contract: Contract,
    ingest: Ingest,
    publisher: PolicyPublisher,
    console: Console,
) -> Trainer:
    """The trainer of a run, with the networks of a new one. Raises ConfigError for settings that do not fit."""
    tracker = make_tracker(
        config.tracker, folder.path, run_id=folder.run_id, name=folder.path.name, config=plain(config)
    )
    reporter = Reporter(folder.metrics, tracker)
    try:
        algorithm = checked(lambda: run_algorithm(config, contract))
        _compile(algorithm, config, console)
        algorithm = lead(config, started_ranks(), contract, folder.path, algorithm)
        return Trainer(
            config,
            folder,
            ingest=ingest,
            publisher=publisher,
            algorithm=algorithm,
            replay=checked(lambda: replay_buffer(config, contract, folder.replay_bytes, algorithm.device)),
            reporter=reporter,
            console=console,
        )
    except BaseException:
        reporter.close(0.1)
        raise


def replay_buffer(
    config: LearnerConfig, contract: Contract, capacity_bytes: int, device: torch.device | str = "cpu"
) -> ReplayBuffer:
    """The empty replay buffer of a run whose updates run on ``device``."""
    return ReplayBuffer(
        contract,
        capacity_bytes=capacity_bytes,
        protected_share=config.replay.protected_share,
        n_step=config.algorithm.n_step,
        takeover_discount=config.algorithm.takeover_discount,
        gamma=config.algorithm.gamma,
        cut_at_takeover=config.replay.cut_at_takeover,
        gripper=discrete_gripper(contract, config.algorithm),
        seed=config.acting.seed,
        device=replay_device(config.replay, contract, capacity_bytes, device),
    )


def _compile(algorithm: Algorithm, config: LearnerConfig, console: Console) -> None:
    from learner.algorithms.compiled import compile_networks

    if started_ranks().count > 1:
        return  # a rank's share of a batch has another size, and the slowest rank sets the pace
    if compile_networks(algorithm, config.compile, config.algorithm.batch_size, console.event):
        console.event("networks are compiled for updates")


def checked[T](make: Callable[[], T]) -> T:
    """``make()``, with a ValueError about a setting as a ConfigError."""
    try:
        return make()
    except ValueError as error:
        raise ConfigError(str(error)) from error
