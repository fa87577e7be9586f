"""Small files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path

_PAGE = 4096


def write_durably(path: Path, data: bytes) -> None:
    """Replaces ``path`` by ``data`` in one step, and returns when that is on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Returns when the names in ``folder`` are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reserve(fd: int, size: int) -> None:
    """Takes ``size`` bytes of the disk for a new file now: writing into mapped memory without any kills a process.

    Raises OSError where the disk has not so many.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    for _ in range(0, size, _PAGE):
        os.write(fd, bytes(_PAGE))
    os.ftruncate(fd, size)
    os.lseek(fd, 0, os.SEEK_SET)
