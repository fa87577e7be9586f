"""What reaches the disk, and what comes of a sync that fails."""

import errno
import os
from pathlib import Path

import pytest

from episodes.log import EpisodeLog, LogError
from episodes.log_segment import FRAME
from tests.episodes.log_files import IDS, contents, entry, segments, write


@pytest.mark.parametrize("sync", ["commit", "os"])
def test_sync_reaches_the_disk_with_commit_and_is_left_to_the_system_with_os(tmp_path, monkeypatch, sync):
    flushed: list[str] = []
    fdatasync = os.fdatasync

    def recorded(file: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{file}"))
        fdatasync(file)

    with EpisodeLog(tmp_path, **IDS, sync=sync) as log:
        monkeypatch.setattr(os, "fdatasync", recorded)
        log.append([entry(1)])
        assert flushed == []
        log.sync()
        assert flushed == ([str(tmp_path / "segment-000000.log")] if sync == "commit" else [])


def test_what_a_killed_process_did_not_sync_is_on_the_disk_once_the_log_is_open(tmp_path, monkeypatch):
    write(tmp_path, 2, sync="os")
    flushed: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.fstat(file).st_size) or fsync(file))
    EpisodeLog(tmp_path, **IDS, sync="commit").close()
    assert flushed == [segments(tmp_path)[0].stat().st_size]


class LosingDisk:
    """``os.fdatasync`` of a disk that loses what it cannot store, and says so once, as Linux does.

    ``stored``: bytes of the file that are on it already.
    """

    def __init__(self, path: Path, code: int, stored: int):
        self.path, self.code, self.stored = path, code, stored

    def __call__(self, file: int) -> None:
        size = os.fstat(file).st_size
        if self.code and size > self.stored:
            with open(self.path, "r+b") as data:
                data.seek(self.stored)
                data.write(bytes(size - self.stored))
            code, self.code = self.code, 0
            raise OSError(code, os.strerror(code))
        self.stored = size


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_what_a_failed_sync_may_have_lost_is_cut_off_and_appended_again(tmp_path, monkeypatch, code):
    with EpisodeLog(tmp_path, **IDS) as log:
        log.append([entry(1)])
        log.sync()
        before = log.end
        (path,) = segments(tmp_path)
        monkeypatch.setattr(os, "fdatasync", LosingDisk(path, code, path.stat().st_size))
        log.append([entry(2, text="lost"), entry(1, "b")])
        log.append([entry(3, text="lost")])
        with pytest.raises(OSError, match=os.strerror(code)):
            log.sync()
        assert (log.end, log.watermarks()) == (before, {"a": 1})
        assert contents(tmp_path) == [entry(1)]
        log.append([entry(2), entry(1, "b")])
        log.sync()
        assert contents(tmp_path) == [entry(1), entry(2), entry(1, "b")]
    with EpisodeLog(tmp_path, **IDS) as log:
        assert (log.cut_bytes, log.watermarks()) == (0, {"a": 2, "b": 1})


def test_a_sync_that_fails_behind_a_rotation_goes_back_to_the_new_segment(tmp_path, monkeypatch):
    with EpisodeLog(tmp_path, **IDS, segment_bytes=10) as log:
        log.append([entry(1)])
        log.append([entry(2)])
        path = segments(tmp_path)[-1]
        monkeypatch.setattr(
            os, "fdatasync", LosingDisk(path, errno.ENOSPC, path.stat().st_size - len(entry(2)) - FRAME.size)
        )
        with pytest.raises(OSError, match="No space left"):
            log.sync()
        assert log.watermarks() == {"a": 1}
        log.append([entry(2)])
    assert contents(tmp_path) == [entry(1), entry(2)]


def test_the_memory_of_what_is_appended_again_is_given_back_again(tmp_path, monkeypatch):
    given_back = []
    monkeypatch.setattr("episodes.log._RELEASE_BYTES", len(entry(2)))
    monkeypatch.setattr(os, "posix_fadvise", lambda _, start, size, advice: given_back.append(start + size))
    with EpisodeLog(tmp_path, **IDS) as log:
        (path,) = segments(tmp_path)
        monkeypatch.setattr(os, "fdatasync", LosingDisk(path, errno.ENOSPC, path.stat().st_size))
        log.append([entry(1)])
        with pytest.raises(OSError, match="No space left"):
            log.sync()
        log.append([entry(1)])
    assert given_back == [path.stat().st_size] * 2


def test_a_log_that_cannot_be_cut_back_says_so(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    log = EpisodeLog(tmp_path, **IDS)
    log.append([entry(1)])
    monkeypatch.setattr(os, "fdatasync", broken)
    monkeypatch.setattr(os, "ftruncate", broken)
    with pytest.raises(LogError, match=r"could not be cut back to its \d+ whole bytes: .*Input/output error"):
        log.sync()
    monkeypatch.undo()
    log.close()


def test_a_log_whose_last_sync_fails_lets_others_write(tmp_path, monkeypatch):
    log = EpisodeLog(tmp_path, **IDS)
    log.append([entry(1)])
    (path,) = segments(tmp_path)
    monkeypatch.setattr(os, "fdatasync", LosingDisk(path, errno.EIO, path.stat().st_size - len(entry(1)) - FRAME.size))
    with pytest.raises(OSError, match="Input/output error"):
        log.close()
    EpisodeLog(tmp_path, **IDS).close()
