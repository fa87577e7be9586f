"""What a run will put on the disk and into memory, said before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from episodes.contract import Contract
from episodes.disk import DiskError, free_bytes, passing
from learner.config import LearnerConfig

SPARE_BYTES = 64 << 20
"""Kept free beside the log: checkpoints, metrics, the tracker's files."""
_RECORD_BYTES = 200  # of a step beside its observation and actions


def step_bytes(contract: Contract) -> int:
    """About what a step takes in the log."""
    actions = 3 * 4 * contract.interface.action.shape[0]
    return sum(feature.nbytes + 8 for feature in contract.stored) + actions + _RECORD_BYTES


def check_room(config: LearnerConfig, contract: Contract, folder: Path) -> None:
    """Raises DiskError where the disk has not the room that the steps of a capped run need, or hardly any."""
    steps = config.stop.max_env_steps
    needed, free = steps * step_bytes(contract) + SPARE_BYTES, free_bytes(folder)
    if free < needed:
        planned = f"{steps:,} steps (stop.max_env_steps) and " if steps else ""
        raise DiskError(
            f"the disk of {folder} has {free / 1e9:.2f} GB free; {planned}checkpoints need {needed / 1e9:.2f} GB. Free "
            "some, or name another folder with run=FOLDER"
        )


def plan(config: LearnerConfig, contract: Contract, folder: Path, replay_bytes: int) -> Iterator[str]:
    """Lines for the person who starts a run."""
    size, free = step_bytes(contract), free_bytes(folder)
    hz = contract.interface.control_hz
    rate = f"{size * hz * 3600 / 1e9:.2g} GB an hour at {hz:g} Hz" if hz else f"{size / 1e3:.2g} GB a million steps"
    yield (
        f"disk: {size / 1e3:.2g} kB a step, those of evaluations too, {rate}; {free / 1e9:.1f} GB free, room for "
        f"{max(0, free - SPARE_BYTES) // size:,} steps; memory: up to {replay_bytes / 1e9:.2g} GB of replay"
    )
    if warning := passing(folder):
        yield warning
    try:
        check_room(config, contract, folder)
    except DiskError as error:
        yield str(error)
