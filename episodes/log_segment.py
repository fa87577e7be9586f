"""One file of the episode log: its header, its frames, and what a crash may have left at its end."""

from __future__ import annotations

import contextlib
import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from isal.isal_zlib import crc32, crc32_combine

from episodes.spool_position import RecordError, SpoolPosition
from transport import records_pb2 as pb

MAGIC = b"TANDEMLG"
VERSION = 1
HEADER = Struct("<8sIII")  # magic, version, bytes of JSON, crc32 of the JSON
FRAME = Struct("<II")  # bytes of the LogEntry, crc32 of them
_READ_BYTES = 1 << 20
_SEARCH_BYTES = 1 << 18
_CRC_STRIDE = 64
_FIRST_BYTES = [field.number << 3 | 2 for field in pb.LogEntry.DESCRIPTOR.fields]
"""With which a LogEntry can begin: the tags of its fields, all of which have a length."""


class LogError(RuntimeError):
    """A log that cannot be opened, read or written."""


@dataclass(frozen=True)
class Segment:
    """One segment file.

    Attributes:
        base: Offset of the log at its first frame [bytes].
        header_bytes: Where its first frame begins in the file.
        positions: Spool positions at ``base``, as JSON.
    """

    path: Path
    base: int
    header_bytes: int
    run_id: str
    interface_fingerprint: str
    positions: Mapping[str, Any]


def create_segment(
    folder: Path, index: int, base: int, run_id: str, interface_fingerprint: str, positions: Mapping[str, Any]
) -> Segment:
    """Makes ``segment-<index>.log`` with its header, complete on disk or not at all."""
    fields = {
        "base": base,
        "interface_fingerprint": interface_fingerprint,
        "positions": positions,
        "run_id": run_id,
    }
    text = json.dumps(fields, sort_keys=True).encode()
    path = folder / f"segment-{index:06d}.log"
    making = path.with_suffix(".making")
    try:
        with open(making, "wb") as file:
            file.write(HEADER.pack(MAGIC, VERSION, len(text), crc32(text)) + text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(making, path)
    except OSError:
        with contextlib.suppress(OSError):
            making.unlink()
        raise
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return Segment(path, base, HEADER.size + len(text), run_id, interface_fingerprint, positions)


def list_segments(folder: Path, run_id: str | None, interface_fingerprint: str | None) -> list[Segment]:
    """The segments in order. Raises LogError for one that is missing, damaged, or of another run or contract."""
    segments: list[Segment] = []
    for index, path in enumerate(sorted(folder.glob("segment-*.log"))):
        if path.name != f"segment-{index:06d}.log":
            raise LogError(f"{folder} lacks segment-{index:06d}.log: expected it before {path.name}. Restore it")
        segment = _read_header(path)
        for key, expected, actual in (
            ("interface_fingerprint", interface_fingerprint, segment.interface_fingerprint),
            ("run_id", run_id, segment.run_id),
        ):
            if expected is not None and actual != expected:
                what = "contract" if key == "interface_fingerprint" else "run"
                raise LogError(
                    f"{folder} holds the log of another {what}: {key} expected {expected!r}, got {actual!r}. "
                    "Choose another run folder, or the settings this one was made with"
                )
        if segments:
            previous = segments[-1]
            held = previous.path.stat().st_size - previous.header_bytes
            if previous.base + held != segment.base:
                raise LogError(
                    f"{previous.path} is damaged: expected {segment.base - previous.base} bytes of entries, got "
                    f"{held}. Restore it from a copy; nothing was changed"
                )
        segments.append(segment)
    return segments


def scan_tail(segment: Segment) -> tuple[dict[str, SpoolPosition], int]:
    """Spool positions after the last whole frame, and where in the file that frame ends.

    Raises LogError when a damaged frame is followed by a whole one: that is no torn tail, and nothing may be cut.
    """
    positions = {spool_id: SpoolPosition(**fields) for spool_id, fields in segment.positions.items()}
    place = segment.header_bytes
    with open(segment.path, "rb", buffering=_READ_BYTES) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(place)
        while (entry := _next_entry(file, place, size, segment.path)) is not None:
            message, place = entry
            position = positions.setdefault(message.spool_id, SpoolPosition())
            position.actor = message.actor
            try:
                position.advance(message.record)
            except RecordError as error:
                raise LogError(
                    f"{segment.path} holds an entry of spool {message.spool_id!r} out of turn: {error}"
                ) from None
    if place < size:
        _refuse_damage(_tail(segment.path, place, size), segment.path, place)
    return positions, place


def read_frames(segments: Sequence[Segment], start_offset: int, end: int | None) -> Iterator[tuple[int, pb.LogEntry]]:
    """Yields (offset after, entry) from ``start_offset`` to ``end``; None: to the last whole frame."""
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        with open(segment.path, "rb", buffering=_READ_BYTES) as file:
            size = os.fstat(file.fileno()).st_size
            if last and end is not None:
                size = min(size, end - segment.base + segment.header_bytes)
            if start_offset > segment.base + size - segment.header_bytes:
                if last:
                    held = segment.base + size - segment.header_bytes
                    raise LogError(f"{segment.path.parent} has no offset {start_offset}: it ends at {held}")
                continue
            place = segment.header_bytes + max(0, start_offset - segment.base)
            file.seek(place)
            while (entry := _next_entry(file, place, size, segment.path)) is not None:
                message, place = entry
                yield segment.base + place - segment.header_bytes, message
            if place < size and not (last and end is None):
                raise LogError(_damage(segment.path, place))
            if place < size:
                _refuse_damage(_tail(segment.path, place, size), segment.path, place)


def _next_entry(file: BinaryIO, place: int, size: int, path: Path) -> tuple[pb.LogEntry, int] | None:
    """The entry at ``place`` and where it ends, or None where no whole frame is."""
    if place + FRAME.size > size:
        return None
    length, check = FRAME.unpack(file.read(FRAME.size))
    end = place + FRAME.size + length
    if not length or end > size:
        return None
    data = file.read(length)
    if crc32(data) != check:
        return None
    try:
        return pb.LogEntry.FromString(data), end
    except DecodeError:
        raise LogError(_damage(path, place)) from None


def _tail(path: Path, place: int, size: int) -> bytearray:
    """All from ``place`` to ``size``: a whole frame behind that says that a writer goes on, not that there is damage.

    Read, not mapped: a disk that fails, or a writer that cuts, is then no SIGBUS.
    """
    tail, read = bytearray(size - place), 0
    with open(path, "rb", buffering=0) as file:  # a buffer would be joined to it, in twice the memory
        file.seek(place)
        while count := file.readinto(memoryview(tail)[read:]):
            read += count
    return tail if read == len(tail) else tail[:read]


def _refuse_damage(tail: bytes | bytearray, path: Path, place: int) -> None:
    """Raises LogError when a whole frame is anywhere in ``tail`` behind its first byte.

    Linear in ``tail``, whatever somebody put there: the checksum of an entry follows from those of all that is before
    its two ends, so that what many candidates share is not read for each of them.
    """
    data, before = memoryview(tail), array("I", [0])

    def check_of(end: int) -> int:
        """Checksum of all before ``end``."""
        blocks = end // _CRC_STRIDE
        for block in range(len(before) - 1, blocks):
            before.append(crc32(data[block * _CRC_STRIDE : (block + 1) * _CRC_STRIDE], before[-1]))
        return crc32(data[blocks * _CRC_STRIDE : end], before[blocks])

    for start in _candidates(np.frombuffer(tail, np.uint8)):
        length, check = FRAME.unpack_from(tail, start)
        first = start + FRAME.size
        if crc32_combine(check_of(first), check, length) == check_of(first + length):
            raise LogError(_damage(path, place))


def _candidates(raw: npt.NDArray[np.uint8]) -> Iterator[int]:
    """Where, behind its first byte, a frame may begin that ends within ``raw``, shape (bytes,)."""
    count = len(raw) - FRAME.size
    for start in range(1, count, _SEARCH_BYTES):
        end = min(start + _SEARCH_BYTES, count)
        lengths = sum(raw[start + i : end + i].astype(np.uint32) << np.uint32(8 * i) for i in range(4))
        fits = (lengths > 0) & (lengths <= np.arange(count - start, count - end, -1))
        fits &= np.isin(raw[start + FRAME.size : end + FRAME.size], _FIRST_BYTES)
        yield from map(int, start + np.flatnonzero(fits))


def _damage(path: Path, place: int) -> str:
    return f"{path} is damaged at byte {place}, before its end. Restore it from a copy; nothing was changed"


def _read_header(path: Path) -> Segment:
    with open(path, "rb") as file:
        head = file.read(HEADER.size)
        if len(head) < HEADER.size or not head.startswith(MAGIC):
            raise LogError(
                f"{path} is no segment of an episode log: expected it to begin with {MAGIC!r}, got {head[:8]!r}"
            )
        _, version, length, check = HEADER.unpack(head)
        if version != VERSION:
            raise LogError(
                f"{path} has log format {version}, expected {VERSION}: read it with the Tandem that wrote it"
            )
        text = file.read(min(length, _READ_BYTES))
    if len(text) != length or crc32(text) != check:
        raise LogError(f"{path} has a damaged header. Restore it from a copy; nothing was changed")
    try:
        fields = json.loads(text)
        base, run_id, fingerprint = (fields[key] for key in ("base", "run_id", "interface_fingerprint"))
        if (type(base), type(run_id), type(fingerprint)) != (int, str, str):
            raise TypeError("base must be a number, run_id and interface_fingerprint texts")
        positions = {spool_id: SpoolPosition(**position) for spool_id, position in fields["positions"].items()}
        if base < 0 or any(not position.is_sound for position in positions.values()):
            raise ValueError("a negative or misshapen position")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LogError(f"{path} has a header that cannot be read: {type(error).__name__}: {error}") from None
    return Segment(path, base, HEADER.size + length, run_id, fingerprint, fields["positions"])
