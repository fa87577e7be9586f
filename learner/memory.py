"""How much memory this machine, or the container this process runs in, still has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from episodes.contract import Contract
from learner.image_columns import image_device
from learner.replay_rows import row_bytes

_CGROUP = Path("/sys/fs/cgroup")


def free_memory_bytes() -> int:
    """Bytes that can be used without swapping: the least of what the machine and the container have left."""
    return int(min(_machine_bytes(), _container_bytes(_CGROUP)))


def replay_beyond_memory(contract: Contract, capacity_bytes: int, where: str, device: Any) -> str:
    """Says that so large a replay buffer is more than what this machine has left; empty where it is not.

    Args:
        contract: Of the run.
        capacity_bytes: Memory of the buffer, which it takes only as rows are written.
        where: ``replay.device``: images that are kept on a GPU take none of this machine's memory.
        device: Where updates run.
    """
    rows = capacity_bytes // row_bytes(contract)
    image_bytes = rows * sum(f.nbytes for f in contract.stored if f.is_image)
    here = capacity_bytes - (0 if image_device(where, device, image_bytes) is None else image_bytes)
    free = free_memory_bytes()
    return f"replay may take {here / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free here" * (here > free)


def _machine_bytes() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        # Not Linux: nobody says what is free, so half of what is installed.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _container_bytes(folder: Path) -> float:
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return float("inf") if limit == "max" else max(int(limit) - int(used), 0)
    except (OSError, ValueError):
        return float("inf")
