"""How much memory this machine, or the container this process runs in, still has."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def free_memory_bytes() -> int:
    """Bytes that can be used without swapping: the least of what the machine and the container have left."""
    return int(min(_machine_bytes(), _container_bytes(_CGROUP)))


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
