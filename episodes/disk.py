"""What a folder's disk is and holds: enough room, writable, and still there after a reboot."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_CONTAINER = "a container's own layer"
PASSING = {"tmpfs": "memory", "ramfs": "memory", "overlay": _CONTAINER, "aufs": _CONTAINER}
"""Filesystems whose files end with the machine or the container."""


class DiskError(RuntimeError):
    """A folder that cannot be written, or has no room; the text says what to do."""


def check_writable(folder: Path) -> None:
    """Raises DiskError where nothing can be written into ``folder``, which is made if absent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".written-") as file:
            file.write(b"\0")
            file.flush()
    except OSError as error:
        where = f"{folder} cannot be written: {error.strerror}"
        kind = filesystem(folder)
        raise DiskError(f"{where}{f' (on {kind})' if kind else ''}. Name another folder, or mend this one") from None


def free_bytes(folder: Path) -> int:
    """Room for this user on the disk of ``folder``, or of what of its path is there already."""
    found = os.statvfs(_there(folder))
    return found.f_bavail * found.f_frsize


def filesystem(folder: Path) -> str:
    """Type of the filesystem of ``folder``: ``ext4``, ``overlay``, ...; empty where nobody says."""
    path = _there(folder).resolve()
    best, kind = "", ""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = left.split()[4].encode().decode("unicode_escape")
        if path.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, right.split()[0]
    return kind


def passing(folder: Path) -> str:
    """Why what lies in ``folder`` may be gone after a restart of the machine; empty where it stays."""
    kind = filesystem(folder)
    return f"{folder} lies on {kind}, {PASSING[kind]}: it is lost with it" if kind in PASSING else ""


def _there(folder: Path) -> Path:
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())
