"""What is said of a folder's disk, on real mounts."""

import os
import subprocess
from pathlib import Path

import pytest

from episodes.disk import DiskError, check_writable, filesystem, free_bytes, passing

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def mount(tmp_path):
    """Mounts a small tmpfs; unmounts it at the end."""
    place = tmp_path / "a small disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tandem-test", place], capture_output=True)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


@needs_root
def test_a_small_disk_is_measured_named_and_refused_when_read_only(mount):
    assert 0 < free_bytes(mount / "not" / "there") <= 1 << 20
    assert filesystem(mount / "run") == "tmpfs"
    assert passing(mount) == f"{mount} lies on tmpfs, memory: it is lost with it"
    check_writable(mount / "run")
    subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
    with pytest.raises(DiskError, match=r"cannot be written: Read-only file system \(on tmpfs\)\. Name another folder"):
        check_writable(mount / "other")


def test_the_root_of_a_linux_machine_has_a_filesystem():
    if not Path("/proc/self/mountinfo").exists():
        pytest.skip("no /proc/self/mountinfo here")
    assert filesystem(Path("/"))
    check_writable(Path.cwd())
