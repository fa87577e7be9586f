"""The thread that writes the episode log: one append and one sync for all that came meanwhile."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate

from episodes.log import EpisodeLog
from episodes.log_segment import FRAME
from episodes.spool_position import SpoolPosition
from learner.ingest_spool import Batch
from transport import records_pb2 as pb

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_FULL_DISK_RETRY_S = 0.5
_GATHER_S = 0.002
"""How long the writer lets batches gather for one append: waking for each costs more than the append."""
_BUSY_GATHER_S = 0.04
"""The same while the update loop has other work: each time the writer wakes, an update waits for the interpreter."""

_STOPPING = "the learner is stopping: nothing more is taken"

type Logged = Callable[[list[tuple[int, pb.LogEntry]], Mapping[str, SpoolPosition]], None]


class IngestError(RuntimeError):
    """The log cannot be written any more, or the ingest is closed."""


class LogWriter:
    """Appends batches to the log in the order submitted. May be called from any thread.

    Attributes:
        fault: Why nothing is being logged at present, e.g. a full disk; empty while all is well.

    Args:
        log: Written by this alone from now on.
        logged: Called, in the thread, with entries that are now in the log, each with the offset after it, and with
            the positions of their spools.
        failed: Called, in the thread, when the log cannot be written: for now, as ``fault`` says, or any more.
    """

    def __init__(self, log: EpisodeLog, logged: Logged, failed: Callable[[], None]):
        self.fault = ""
        self._log = log
        self._logged = logged
        self._failed = failed
        self._work = threading.Condition()
        self._pending: list[Batch] = []
        self._awaited = self._closing = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="log-writer", daemon=True)
        self._thread.start()

    def submit(self, batch: Batch) -> None:
        """Takes a batch for the log. Raises IngestError when the log cannot be written or the writer is closed."""
        with self._work:
            self.check()
            if self._closing:
                raise IngestError(_STOPPING)
            self._pending.append(batch)
            if len(self._pending) == 1:
                self._work.notify()

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for what is logged next."""
        return self._awaited

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While this is held, what was submitted is logged without delay. One thread at a time."""
        with self._work:
            self._awaited = True
            self._work.notify()
        try:
            yield
        finally:
            self._awaited = False

    def check(self) -> None:
        """Raises IngestError when the log cannot be written any more."""
        if self._failure is not None:
            raise IngestError(
                f"the episode log {self._log.folder} cannot be written: {self._failure}. Mend the disk and start the "
                "learner again: the actors keep what was not acknowledged"
            ) from self._failure

    def close(self, timeout_s: float) -> None:
        """Appends what was submitted and stops; the log stays open. May be called twice."""
        with self._work:
            self._closing = True
            self._work.notify()
        self._thread.join(timeout_s)

    def _write(self) -> None:
        while True:
            with self._work:
                self._work.wait_for(lambda: self._pending or self._closing)
                self._work.wait_for(lambda: self._awaited or self._closing, _BUSY_GATHER_S)
                hurried = self._awaited and not self._closing
            if hurried:
                time.sleep(_GATHER_S)
            with self._work:
                batches, self._pending = self._pending, []
            if not batches:
                return
            try:
                if not self._append(batches):
                    self._give_up(batches, _STOPPING)
                    return
            except BaseException as error:
                self._failure = error
                self._give_up(batches, f"the episode log cannot be written: {error}")
                self._failed()
                return

    def _give_up(self, batches: list[Batch], why: str) -> None:
        """Tells those who wait for ``batches``, and for what came after them, that they are not logged."""
        with self._work:
            batches += self._pending
            self._pending = []
        for batch in batches:
            if batch.done is not None:
                batch.done.set_exception(IngestError(why))

    def _append(self, batches: list[Batch]) -> bool:
        """One append and one sync for all that has come meanwhile. False when closed while the disk was full."""
        data = [item for batch in batches for item in batch.data]
        positions = {spool_id: position for batch in batches for spool_id, position in batch.positions.items()}
        start = self._log.end
        while True:
            try:
                self._log.append(data, positions)
                self._log.sync()
                break
            except OSError as error:
                if error.errno not in _FULL_DISK:
                    raise
                if not self.fault:
                    self.fault = f"the disk of {self._log.folder} is full: free some space; nothing is lost meanwhile"
                    self._failed()
                with self._work:
                    if self._closing or self._work.wait_for(lambda: self._closing, _FULL_DISK_RETRY_S):
                        return False
        self.fault = ""
        entries = [entry for batch in batches for entry in batch.entries]
        offsets = accumulate((len(item) + FRAME.size for item in data), initial=start)
        next(offsets)
        self._logged(list(zip(offsets, entries, strict=True)), positions)
        for batch in batches:
            if batch.done is not None:
                batch.done.set_result(None)
        return True
