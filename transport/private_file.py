"""Files that nobody but their owner may read: tokens and private keys."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path


def write_private(path: Path, data: bytes, *, replace: bool) -> None:
    """Writes ``path`` (mode 0600) whole or not at all; its folder is made (mode 0700) where it is absent.

    Without ``replace`` one that is there, or that another process made meanwhile, stays. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, making = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(making, path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(making, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(making)


def read_private(path: Path, most_bytes: int = 1 << 16) -> bytes | None:
    """What ``path`` holds; None where there is none. Raises PermissionError where others may read it, and OSError."""
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(most_bytes)
    except FileNotFoundError:
        return None
    if mode & 0o077:
        raise PermissionError(f"{path} may be read by others (mode {mode:04o}, expected 0600): chmod 600 {path}")
    return data
