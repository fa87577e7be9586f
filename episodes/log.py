"""The append-only log of a run: every record of every spool, in the order received.

A folder of segments ``segment-000000.log``, each a header and then frames of ``u32 length, u32 crc32, LogEntry``. The
*offset* of the log counts the bytes of all frames before it, headers not included, over all segments. `docs/wire.md`
describes the format.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from isal.isal_zlib import crc32

from episodes.log_lock import FolderLock
from episodes.log_segment import FRAME, LogError, Segment, create_segment, list_segments, read_frames, scan_tail
from episodes.spool_position import SpoolPosition
from transport import records_pb2 as pb

__all__ = ["EpisodeLog", "LogError", "read_log"]

Sync = Literal["commit", "os"]
SEGMENT_BYTES = 256 << 20
_WRITEV_PARTS = 512
_RELEASE_BYTES = 16 << 20
_RELEASE_BEHIND_BYTES = 64 << 20


class EpisodeLog:
    """One process writes it, one thread at a time; any thread may ``read`` meanwhile.

    Opening cuts a torn tail (an append that a crash broke off) and recovers the position of every spool from the log
    itself: from the newest segment's header and the frames after it.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        run_id: str | None = None,
        interface_fingerprint: str | None = None,
        sync: Sync = "commit",
        segment_bytes: int = SEGMENT_BYTES,
    ):
        """Opens the log in ``folder``, or makes one.

        Args:
            folder: Made if absent.
            run_id: Needed to make a log; an existing one must carry it. None takes an existing log as it is.
            interface_fingerprint: As ``run_id``.
            sync: ``commit``: every ``sync`` reaches the disk; ``os``: it is left to the operating system, so a process
                may be killed at any time without loss, but not the machine.
            segment_bytes: A segment that has reached this size is followed by a new one.

        Raises:
            LogError: another process writes it, it belongs to another run or contract, it is damaged before its tail,
                or there is none and no ``run_id`` and ``interface_fingerprint`` to make one.
        """
        if sync not in ("commit", "os"):
            raise LogError(f"log.sync must be 'commit' or 'os'. Got: {sync!r}")
        self.folder = Path(folder)
        self._durable = sync == "commit"
        self._segment_bytes = segment_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(self.folder)
        self._file = -1
        self._size = self._end = 0
        self._positions: dict[str, SpoolPosition] = {}
        self._note_stored()
        try:
            self._segments = list_segments(self.folder, run_id, interface_fingerprint)
            if not self._segments:
                if run_id is None or interface_fingerprint is None:
                    raise LogError(f"{self.folder} holds no episode log (no segment-*.log)")
                self._segments = [create_segment(self.folder, 0, 0, run_id, interface_fingerprint, {})]
            last = self._segments[-1]
            self.run_id, self.interface_fingerprint = last.run_id, last.interface_fingerprint
            self._positions, end = scan_tail(last)
            self._file = os.open(last.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self.cut_bytes = os.fstat(self._file).st_size - end
            if self.cut_bytes:
                os.ftruncate(self._file, end)
            if self.cut_bytes or self._durable:
                os.fsync(self._file)  # a process that was killed may not have come to it
            self._size = self._released = end
            self._end = last.base + end - last.header_bytes
            self._note_stored()
        except BaseException:
            self.close()
            raise

    @property
    def end(self) -> int:
        """Offset after the last entry [bytes]."""
        return self._end

    def watermarks(self) -> dict[str, int]:
        """Last sequence number of every spool in the log."""
        return {spool_id: position.sequence for spool_id, position in self._positions.items()}

    def positions(self) -> dict[str, SpoolPosition]:
        """Position of every spool in the log, copied."""
        return {spool_id: position.copy() for spool_id, position in self._positions.items()}

    def append(self, entries: Sequence[bytes], positions: Mapping[str, SpoolPosition] | None = None) -> int:
        """Appends serialised LogEntry messages, all or none, and returns the end offset.

        Args:
            entries: Each a serialised, nonempty LogEntry.
            positions: Positions after ``entries`` of the spools in them. None: the entries are parsed for it, which
                also checks their continuity.

        Raises:
            OSError: e.g. a full disk; the log is as it was before, and the same entries may be appended again.
            LogError: and what was written of them could not be cut off: the log must be opened anew.
            RecordError: the entries do not continue their spools; nothing is appended.
        """
        if positions is None:
            positions = self._positions_after(entries)
        if self._size >= self._segment_bytes:
            self._rotate()
        parts: list[bytes] = []
        for entry in entries:
            parts += (FRAME.pack(len(entry), crc32(entry)), entry)
        try:
            written = _write(self._file, parts)
        except BaseException:
            self._cut()
            raise
        self._size += written
        self._positions.update(positions)
        self._end += written
        if self._size - self._released >= _RELEASE_BYTES:
            self._release()
        return self._end

    def sync(self) -> None:
        """With ``sync="commit"``, returns when everything appended is on the disk; else at once.

        Raises OSError where it cannot be, e.g. on a full disk, and LogError as ``append``. All that was appended since
        the last sync is then cut off, and may be appended again: after a sync that failed the system holds what it
        could not write for written, and would say so of it when asked again.
        """
        if self._durable and self._end != self._stored[1]:
            try:
                os.fdatasync(self._file)
            except BaseException:
                self._size, self._end, positions = self._stored
                self._positions = dict(positions)
                self._released = min(self._released, self._size)
                self._cut()
                raise
        self._note_stored()

    def read(self, start_offset: int = 0) -> Iterator[tuple[int, pb.LogEntry]]:
        """Entries from ``start_offset`` (an offset this yielded, 0, or ``end``) to the end at the time of the call.

        Yields (offset after the entry, entry). Raises LogError where a frame is damaged or no entry starts there.
        """
        end = self._end
        return read_frames([segment for segment in self._segments[:] if segment.base <= end], start_offset, end)

    def close(self) -> None:
        """Syncs and lets other processes write the log. May be called twice."""
        try:
            if self._file >= 0:
                self.sync()
        finally:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
            self._lock.release()

    def __enter__(self) -> EpisodeLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rotate(self) -> None:
        """A new segment, whose header carries the positions, so that opening reads the newest segment alone."""
        self.sync()
        positions = {spool_id: position.to_json() for spool_id, position in self._positions.items()}
        segment = create_segment(
            self.folder, len(self._segments), self.end, self.run_id, self.interface_fingerprint, positions
        )
        os.close(self._file)
        self._file = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._segments.append(segment)
        self._size = self._released = segment.header_bytes
        self._note_stored()

    def _note_stored(self) -> None:
        """What is there now is what a sync that fails goes back to."""
        self._stored = self._size, self._end, dict(self._positions)

    def _cut(self) -> None:
        """Cuts off what is behind the last whole append."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError as error:
            path = self._segments[-1].path
            raise LogError(f"{path} could not be cut back to its {self._size} whole bytes: {error}") from error

    def _release(self) -> None:
        """Starts writing out, and gives back the memory of what is written.

        A log of images would else fill the page cache with what nobody reads soon: memory that replay wants, and that
        a virtual machine hands out slowly (appending was six times slower without this).
        """
        start = max(0, self._size - _RELEASE_BEHIND_BYTES)
        os.posix_fadvise(self._file, start, self._size - start, os.POSIX_FADV_DONTNEED)
        self._released = self._size

    def _positions_after(self, entries: Sequence[bytes]) -> dict[str, SpoolPosition]:
        after: dict[str, SpoolPosition] = {}
        for data in entries:
            entry = pb.LogEntry.FromString(data)
            position = after.get(entry.spool_id)
            if position is None:
                position = self._positions.get(entry.spool_id, SpoolPosition()).copy()
                position.actor = entry.actor
                after[entry.spool_id] = position
            position.advance(entry.record)
        return after


def read_log(
    folder: str | os.PathLike[str], start_offset: int = 0, *, interface_fingerprint: str | None = None
) -> Iterator[tuple[int, pb.LogEntry]]:
    """Entries of a log nobody need own: nothing is locked or cut, a torn tail ends the reading.

    Yields (offset after the entry, entry). Raises LogError where ``folder`` holds no log, one of another contract, or
    one damaged before its tail.
    """
    folder = Path(folder)
    segments: list[Segment] = list_segments(folder, None, interface_fingerprint) if folder.is_dir() else []
    if not segments:
        raise LogError(f"{folder} holds no episode log (no segment-*.log)")
    return read_frames(segments, start_offset, None)


def _write(file: int, parts: list[bytes]) -> int:
    """Writes all parts; a short write goes on where it stopped."""
    total = 0
    for first in range(0, len(parts), _WRITEV_PARTS):
        group = parts[first : first + _WRITEV_PARTS]
        size = sum(map(len, group))
        written = os.writev(file, group)
        if written < size:
            rest = memoryview(b"".join(group))[written:]
            while rest:
                rest = rest[os.write(file, rest) :]
        total += size
    return total
