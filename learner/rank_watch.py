"""Each rank watches the processes of the others: where one ends, none may wait for it."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

GRACE_S = 8.0
_POLL_S = 0.2


class RankError(RuntimeError):
    """Several ranks cannot go on together; the text says which one is at fault, and what to do."""


class RankWatch:
    """Ends this process where another rank ended: rank 0 by a RankError in its main thread, the others at once.

    Attributes:
        lost: What is known of the rank that ended, for rank 0; empty before.

    Args:
        rank: Of this process.
        processes: Process id of every other rank to watch.
        run: Run folder, where a rank leaves its last words.
    """

    def __init__(self, rank: int, processes: Mapping[int, int], run: Path):
        self.lost = ""
        self._rank = rank
        self._run = run
        self._over = threading.Event()
        self._main = threading.current_thread() is threading.main_thread()
        if rank == 0 and self._main:
            signal.signal(signal.SIGUSR1, self._raise)
        for other, process in processes.items():
            threading.Thread(target=self._watch, args=(other, process), name=f"rank-{other}", daemon=True).start()

    def close(self) -> None:
        """From now on the others may end."""
        self._over.set()

    def explain(self, error: BaseException) -> BaseException:
        """The RankError that stands behind ``error`` where a rank was lost, which it waits for; else ``error``."""
        until_s = time.monotonic() + GRACE_S
        while not self.lost and time.monotonic() < until_s:
            time.sleep(0.05)
        return RankError(self.lost) if self.lost else error

    def _raise(self, number: int, frame: object) -> None:
        if not self._over.is_set():
            raise RankError(self.lost)

    def _watch(self, other: int, process: int) -> None:
        wait_for_end(process)
        if self._over.is_set():
            return
        if self._rank:
            os._exit(1)
        words = last_words(self._run, other)
        self.lost = (
            f"rank {other} of this learner ended{': ' + words if words else ', killed or crashed'}. Nothing of the log "
            f"or of the last checkpoint is lost: the same command with run={self._run} goes on from there"
        )
        if self._main:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        # The main thread may wait inside a collective operation, where no signal reaches it.
        if not self._over.wait(GRACE_S):
            print(f"tandem: {self.lost}", file=sys.stderr, flush=True)
            os._exit(1)


def wait_for_end(process: int) -> None:
    """Returns when a process of this machine has ended."""
    try:
        if hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(process)
            try:
                select.select([descriptor], [], [])
            finally:
                os.close(descriptor)
            return
        while True:
            os.kill(process, 0)
            time.sleep(_POLL_S)
    except ProcessLookupError:
        return


def leave_words(run: Path, rank: int, text: str) -> None:
    """Leaves for rank 0 why this rank ends. Where the disk refuses, nothing."""
    try:
        _words(run, rank).write_text(text)
    except OSError:
        return


def last_words(run: Path, rank: int) -> str:
    """What a rank left, in one line; empty where it left nothing. They are there once."""
    try:
        text = _words(run, rank).read_text()
        _words(run, rank).unlink()
    except OSError:
        return ""
    return " ".join(text.split())[:500]


def _words(run: Path, rank: int) -> Path:
    return run / f"rank-{rank}.txt"
