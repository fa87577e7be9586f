"""What is refused before a run begins, and before anything is made of it."""

from __future__ import annotations

from pathlib import Path

from episodes.contract import Contract
from learner.algorithms import policy_spec
from learner.assembly import checked
from learner.config import ConfigError, LearnerConfig
from learner.disk_plan import check_room
from learner.memory import replay_beyond_memory
from learner.startup import check_pretrained


def check_start(config: LearnerConfig, contract: Contract, path: Path) -> int:
    """Memory of the replay of a new run [bytes].

    Raises PolicySpecError, ConfigError, SnapshotError, CheckpointError or DiskError for what cannot be trained, or not
    on this machine; memory and disk are those of a new run.
    """
    spec = policy_spec(contract, config.algorithm)
    replay_bytes = checked(config.replay.capacity_bytes)
    beyond = beyond_memory(config, contract, replay_bytes)
    if not (path / "run.json").exists():
        if config.policy.pretrained:
            check_pretrained(config.policy.pretrained, spec)
        if beyond:
            raise ConfigError(f"{beyond}. Lower replay.capacity_gb, or leave it out for a quarter of what is free")
        check_room(config, contract, path)
    return replay_bytes


def beyond_memory(config: LearnerConfig, contract: Contract, replay_bytes: int) -> str:
    """Says that so large a replay buffer is more than what this machine has left; empty where it is not."""
    from learner.algorithms.device import choose_device

    device = checked(lambda: choose_device(config.device))
    return replay_beyond_memory(contract, replay_bytes, config.replay.device, device)
