"""Torn tails at every byte are cut; damage before the tail is refused, in bounded work and memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal.isal_zlib import crc32

from episodes.log import EpisodeLog, LogError, read_log
from episodes.log_segment import _SEARCH_BYTES, FRAME, _refuse_damage
from tests.episodes.log_files import IDS, contents, entry, frame, segments, write

CANDIDATE = st.builds(lambda length, check: FRAME.pack(length, check) + b"\x0a", st.integers(1, 300), st.integers(0, 9))


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


def test_what_a_writer_appends_while_the_end_is_read_is_no_damage(tmp_path):
    entries = write(tmp_path, 1)
    (path,) = segments(tmp_path)
    rest = frame(entry(2)) + frame(entry(3))
    with open(path, "ab", buffering=0) as file:
        file.write(rest[:20])
        reader = read_log(tmp_path)
        assert next(reader)[1].SerializeToString() == entries[0]
        file.write(rest[20:])
        assert list(reader) == []
    assert contents(tmp_path) == [*entries, entry(2), entry(3)]


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


def whole_frame_in(tail: bytes) -> bool:
    """As ``_refuse_damage`` decides, entry by entry."""
    for start in range(1, len(tail) - FRAME.size):
        length, check = FRAME.unpack_from(tail, start)
        data = tail[start + FRAME.size : start + FRAME.size + length]
        if length and len(data) == length and data[:1] in (b"\x0a", b"\x12", b"\x1a") and crc32(data) == check:
            return True
    return False


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
