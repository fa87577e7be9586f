"""The log against real files: appends, rotation, recovery, one writer, a full disk."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.log import EpisodeLog, LogError, read_log
from episodes.log_segment import FRAME
from episodes.spool_position import RecordError, SequenceGapError
from tests.episodes.log_files import IDS, contents, entry, segments, write
from transport import records_pb2 as pb


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
