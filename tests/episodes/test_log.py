"""The log against real files: torn tails at every byte, damage, rotation, recovery, one writer."""

import errno
import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal.isal_zlib import crc32

from episodes.log import EpisodeLog, LogError, read_log
from episodes.log_segment import _SEARCH_BYTES, FRAME, _refuse_damage
from episodes.spool_position import RecordError, SequenceGapError
from transport import records_pb2 as pb

IDS = {"run_id": "run", "interface_fingerprint": "0123456789abcdef"}


def entry(sequence: int, spool_id: str = "a", text: str = "") -> bytes:
    """An amendment: the one record that follows any other."""
    amendment = pb.Amendment(episode_id="0" * 32, author=text, outcome=pb.OUTCOME_SUCCESS)
    record = pb.Record(sequence=sequence, amendment=amendment)
    return pb.LogEntry(spool_id=spool_id, actor=f"arm-{spool_id}", record=record).SerializeToString()


def contents(folder: Path) -> list[bytes]:
    return [message.SerializeToString() for _, message in read_log(folder)]


def write(folder: Path, count: int, **kwargs) -> list[bytes]:
    entries = [entry(index + 1, text="x" * (index % 7)) for index in range(count)]
    with EpisodeLog(folder, **IDS, **kwargs) as log:
        for data in entries:
            log.append([data])
    return entries


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("segment-*.log"))


def test_what_was_appended_is_read_back(tmp_path):
    entries = write(tmp_path, 20)
    assert contents(tmp_path) == entries
    with EpisodeLog(tmp_path) as log:
        assert (log.run_id, log.interface_fingerprint) == ("run", IDS["interface_fingerprint"])
        assert log.watermarks() == {"a": 20}
        assert log.positions()["a"].actor == "arm-a"
        assert log.end == sum(len(data) + FRAME.size for data in entries)
        assert log.cut_bytes == 0


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.text("xy", max_size=40)), max_size=6), max_size=12),
    segment_bytes=st.integers(1, 2000),
    reopen=st.sets(st.integers(0, 11)),
)
def test_any_appends_rotations_and_reopenings_keep_every_entry(tmp_path_factory, groups, segment_bytes, reopen):
    folder = tmp_path_factory.mktemp("log")
    watermarks: dict[str, int] = {}
    written: list[bytes] = []
    log = EpisodeLog(folder, **IDS, segment_bytes=segment_bytes, sync="os")
    for index, group in enumerate(groups):
        entries = []
        for spool_id, text in group:
            watermarks[spool_id] = watermarks.get(spool_id, 0) + 1
            entries.append(entry(watermarks[spool_id], spool_id, text))
        end = log.append(entries)
        written += entries
        assert end == log.end == sum(len(data) + FRAME.size for data in written)
        if index in reopen:
            log.close()
            log = EpisodeLog(folder, **IDS, segment_bytes=segment_bytes, sync="os")
        assert log.watermarks() == watermarks
    offsets = [0, *(offset for offset, _ in log.read())]
    for start, offset in enumerate(offsets):
        assert [message.SerializeToString() for _, message in log.read(offset)] == written[start:]
    log.close()
    assert contents(folder) == written


def test_a_tail_torn_at_any_byte_is_cut_and_the_log_goes_on(tmp_path):
    entries = write(tmp_path / "whole", 4)
    (path,) = segments(tmp_path / "whole")
    whole = path.read_bytes()
    frames = [len(data) + FRAME.size for data in entries]
    first = len(whole) - sum(frames)
    for length in range(first, len(whole) + 1):
        kept = sum(first + sum(frames[: n + 1]) <= length for n in range(4))
        path.write_bytes(whole[:length])
        assert contents(tmp_path / "whole") == entries[:kept]
        assert path.stat().st_size == length
        with EpisodeLog(tmp_path / "whole", **IDS, sync="os") as log:
            assert log.watermarks() == ({"a": kept} if kept else {})
            assert log.cut_bytes == length - first - sum(frames[:kept])
            log.append([entry(kept + 1)])
            assert [m.record.sequence for _, m in log.read()] == list(range(1, kept + 2))


@pytest.mark.parametrize("filler", [b"\0" * 5000, b"\xff" * 5000, bytes(range(256)) * 20])
def test_a_tail_of_other_bytes_is_cut(tmp_path, filler):
    entries = write(tmp_path, 3)
    with open(segments(tmp_path)[-1], "ab") as file:
        file.write(filler)
    with EpisodeLog(tmp_path, **IDS) as log:
        assert log.cut_bytes == len(filler)
    assert contents(tmp_path) == entries


def test_damage_before_the_tail_is_refused_wherever_it_is_and_nothing_is_cut(tmp_path):
    entries = write(tmp_path, 4)
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    first = len(whole) - sum(len(data) + FRAME.size for data in entries)
    last = len(whole) - len(entries[-1]) - FRAME.size
    for place in range(first, last):
        damaged = bytearray(whole)
        damaged[place] ^= 0x40
        path.write_bytes(damaged)
        with pytest.raises(LogError, match=r"is damaged at byte \d+, before its end. Restore it from a copy"):
            EpisodeLog(tmp_path, **IDS)
        with pytest.raises(LogError, match="is damaged at byte"):
            contents(tmp_path)
        assert path.read_bytes() == damaged


def test_damage_in_an_earlier_segment_is_refused_when_read(tmp_path):
    write(tmp_path, 10, segment_bytes=100)
    path = segments(tmp_path)[1]
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with EpisodeLog(tmp_path, **IDS) as log, pytest.raises(LogError, match=rf"{path} is damaged at byte \d+"):
        list(log.read())


def test_a_missing_or_shortened_segment_is_refused(tmp_path):
    write(tmp_path, 10, segment_bytes=100)
    path = segments(tmp_path)[1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(LogError, match=r"is damaged: expected \d+ bytes of entries, got \d+. Restore it"):
        EpisodeLog(tmp_path, **IDS)
    path.unlink()
    with pytest.raises(LogError, match=r"lacks segment-000001\.log: expected it before segment-000002\.log"):
        EpisodeLog(tmp_path, **IDS)


@pytest.mark.parametrize("place", [0, 8, 13, 40])
def test_a_damaged_header_is_refused(tmp_path, place):
    write(tmp_path, 1)
    (path,) = segments(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(LogError, match=r"is no segment|has log format|damaged header"):
        EpisodeLog(tmp_path, **IDS)


def test_the_log_of_another_contract_or_run_is_refused(tmp_path):
    write(tmp_path, 1)
    with pytest.raises(
        LogError,
        match=r"log of another contract: interface_fingerprint expected 'ffff', got '0123456789abcdef'\. Choose",
    ):
        EpisodeLog(tmp_path, run_id="run", interface_fingerprint="ffff")
    with pytest.raises(LogError, match="log of another run: run_id expected 'other', got 'run'"):
        EpisodeLog(tmp_path, run_id="other")
    with pytest.raises(LogError, match="another contract"):
        list(read_log(tmp_path, interface_fingerprint="ffff"))


@pytest.mark.parametrize("make", [True, False])
def test_a_folder_without_a_log_says_so(tmp_path, make):
    folder = tmp_path / "demos"
    if make:
        folder.mkdir()
    with pytest.raises(LogError, match=rf"{folder} holds no episode log"):
        list(read_log(folder))
    with pytest.raises(LogError, match=rf"{folder} holds no episode log"):
        EpisodeLog(folder)


def test_one_process_writes(tmp_path):
    log = EpisodeLog(tmp_path, **IDS)
    program = f"from episodes.log import EpisodeLog; EpisodeLog({str(tmp_path)!r})"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert f"is being written by another process (pid {os.getpid()})" in other.stderr
    log.close()
    log.close()
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_a_killed_writer_loses_nothing_that_append_returned_for(tmp_path):
    program = f"""
import sys
import threading
from episodes.log import EpisodeLog
from transport import records_pb2 as pb
log = EpisodeLog({str(tmp_path)!r}, run_id="run", interface_fingerprint="0123456789abcdef", sync="os",
                 segment_bytes=20000)
for sequence in range(1, 10**9):
    record = pb.Record(sequence=sequence, amendment=pb.Amendment(episode_id="0" * 32, author="x" * (sequence % 900)))
    log.append([pb.LogEntry(spool_id="a", record=record).SerializeToString()])
    print(sequence, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(400):
            last = int(writer.stdout.readline())
        writer.kill()
        last = int((writer.stdout.read().split("\n")[:-1] or [str(last)])[-1])
    with EpisodeLog(tmp_path, **IDS) as log:
        assert last <= log.watermarks()["a"] <= last + 1
        assert [m.record.sequence for _, m in log.read()] == list(range(1, log.watermarks()["a"] + 1))


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    with EpisodeLog(tmp_path, **IDS) as log:
        log.append([entry(1)])
        before, kept = log.end, log._file
        log._file = os.open(full, os.O_WRONLY)
        with pytest.raises(OSError) as caught:
            os.write(log._file, b"x")
        assert caught.value.errno == errno.ENOSPC
        os.close(log._file)
        log._file = kept
        limited = _with_file_limit(before + 60 + segments(tmp_path)[0].stat().st_size)
        with limited, pytest.raises(OSError):
            log.append([entry(2, text="y" * 200)])
        assert log.end == before
        log.append([entry(2)])
    assert [m.record.sequence for _, m in read_log(tmp_path)] == [1, 2]


class _with_file_limit:  # noqa: N801
    """Lets no file of this process grow above ``limit`` bytes: a write stops short, the next one fails."""

    def __init__(self, limit: int):
        self._limit = limit

    def __enter__(self) -> None:
        import resource
        import signal

        self._handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._limit, self._before[1]))

    def __exit__(self, *_: object) -> None:
        import resource
        import signal

        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)
        signal.signal(signal.SIGXFSZ, self._handler)


def test_entries_out_of_turn_are_refused_whole(tmp_path):
    with EpisodeLog(tmp_path, **IDS) as log:
        with pytest.raises(SequenceGapError, match=r"record\.sequence must be 2.* Got: 3"):
            log.append([entry(1), entry(3)])
        assert log.end == 0
        step = pb.Record(sequence=1, step=pb.Step(episode_id="e" * 32))
        with pytest.raises(RecordError, match=r"step\.episode_id must be none: no episode of this spool is open"):
            log.append([pb.LogEntry(spool_id="a", record=step).SerializeToString()])
        assert log.watermarks() == {}


def test_a_large_append_of_many_entries_is_one_append(tmp_path):
    entries = [entry(index + 1, text="z" * 900) for index in range(3000)]
    with EpisodeLog(tmp_path, **IDS, sync="os", segment_bytes=1000) as log:
        log.append(entries)
        assert log.watermarks() == {"a": 3000}
    assert contents(tmp_path) == entries
    assert len(segments(tmp_path)) == 1


def test_reading_while_another_thread_appends_and_rotates(tmp_path):
    count, stop = 3000, threading.Event()

    with EpisodeLog(tmp_path, **IDS, sync="os", segment_bytes=2000) as log:

        def append() -> None:
            for sequence in range(1, count + 1):
                log.append([entry(sequence)])
            stop.set()

        writer = threading.Thread(target=append, name="appender")
        writer.start()
        seen = 0
        while not stop.is_set() or seen < count:
            sequences = [message.record.sequence for _, message in log.read()]
            assert sequences == list(range(1, len(sequences) + 1))
            assert len(sequences) >= seen
            seen = len(sequences)
        writer.join()


def test_an_offset_within_an_entry_is_refused(tmp_path):
    write(tmp_path, 3)
    with EpisodeLog(tmp_path, **IDS) as log:
        with pytest.raises(LogError, match="is damaged at byte"):
            list(log.read(5))
        with pytest.raises(LogError, match=rf"has no offset {log.end + 1}: it ends at {log.end}"):
            list(log.read(log.end + 1))


def test_an_unknown_sync_is_refused(tmp_path):
    with pytest.raises(LogError, match=r"log\.sync must be 'commit' or 'os'\. Got: 'never'"):
        EpisodeLog(tmp_path, **IDS, sync="never")


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


def frame(data: bytes) -> bytes:
    return FRAME.pack(len(data), crc32(data)) + data


def whole_frame_in(tail: bytes) -> bool:
    """As ``_refuse_damage`` decides, entry by entry."""
    for start in range(1, len(tail) - FRAME.size):
        length, check = FRAME.unpack_from(tail, start)
        data = tail[start + FRAME.size : start + FRAME.size + length]
        if length and len(data) == length and data[:1] in (b"\x0a", b"\x12", b"\x1a") and crc32(data) == check:
            return True
    return False


CANDIDATE = st.builds(lambda length, check: FRAME.pack(length, check) + b"\x0a", st.integers(1, 300), st.integers(0, 9))


@settings(max_examples=100, deadline=None)
@given(
    pieces=st.lists(
        st.binary(max_size=90) | CANDIDATE | st.builds(lambda text: frame(entry(1, text=text)), st.text("xy")),
        max_size=8,
    )
)
def test_a_tail_is_refused_where_a_whole_frame_is_in_it_and_only_there(pieces):
    tail = b"".join(pieces)
    if whole_frame_in(tail):
        with pytest.raises(LogError, match="is damaged at byte 7"):
            _refuse_damage(tail, Path("log"), 7)
    else:
        _refuse_damage(tail, Path("log"), 7)


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 1 << 16), min_size=1, max_size=20),
    gap=st.integers(0, 20),
    size=st.integers(1 << 15, 1 << 16),
)
def test_the_work_on_a_tail_that_somebody_chose_grows_no_faster_than_the_tail(lengths, gap, size):
    """Frames within frames within frames, none of which is whole."""
    candidates = b"".join(FRAME.pack(length, 0) + b"\x0a" + bytes(gap) for length in lengths)
    tail = (candidates * (size // len(candidates) + 1))[:size]
    read = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "episodes.log_segment.crc32", lambda data, before=0: read.append(len(data)) or crc32(data, before)
        )
        _refuse_damage(tail, Path("log"), 0)
    assert sum(read) <= 16 * size, "a candidate has 9 bytes, and reads 64 more at each end"


@pytest.mark.parametrize("spool_id", ["a", ""])
def test_a_whole_frame_behind_a_damaged_one_is_found_whatever_it_begins_with(tmp_path, spool_id):
    with pytest.raises(LogError, match="is damaged at byte 7"):
        _refuse_damage(b"\xff" * 100 + frame(entry(1, spool_id)), tmp_path, 7)


def test_a_damaged_segment_takes_little_more_memory_than_it_has_bytes(tmp_path):
    write(tmp_path, 1)
    (path,) = segments(tmp_path)
    size = 16 << 20
    with open(path, "ab") as file:
        file.write(np.random.default_rng(0).bytes(size) + frame(entry(2)))
    tracemalloc.start()
    try:
        with pytest.raises(LogError, match="is damaged at byte"):
            EpisodeLog(tmp_path, **IDS)
        assert tracemalloc.get_traced_memory()[1] < 1.8 * size
    finally:
        tracemalloc.stop()


def test_where_two_blocks_of_a_tail_meet_no_frame_is_missed(tmp_path):
    data = frame(entry(1))
    for start in range(_SEARCH_BYTES - len(data) - 1, _SEARCH_BYTES + 2):
        with pytest.raises(LogError, match="is damaged at byte 7"):
            _refuse_damage(bytes(start) + data + bytes(100), tmp_path, 7)
