"""One writer for a folder, among all processes of a machine."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from episodes.log_segment import LogError


class FolderLock:
    """Holds ``folder/lock`` until released or the process ends. Raises LogError naming the holder when taken."""

    def __init__(self, folder: Path):
        self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            self._file = -1
            raise LogError(
                f"{folder} is being written by another process (pid {holder}): stop it, or choose another run folder"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """May be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
