"""The control process as its parent sees it: started early, given its orders later, ended in time."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from actor.config import ControlConfig
from actor.shared import Board, Phase

PROGRAM = "actor.control_main"
STOP_S = 3.5
SILENT_S = 2.0
_CANNOT_BEAT = (Phase.STARTING, Phase.STOPPED)  # while it imports, and while its interpreter ends


class ControlProcess:
    """Started at once, so that its imports run while the learner is still being looked for.

    Args:
        board: Where it beats.
        fds: Shared memory it inherits.
        say: Told every line it says.

    Attributes:
        last_words: The newest of those lines.
    """

    def __init__(self, board: Board, fds: Sequence[int], say: Callable[[str], None]) -> None:
        self.last_words = ""
        self._ordered = self._let_go = False
        self._board = board
        self._say = say
        # A session of its own: Ctrl-C in this terminal reaches the comms process, which tells the control process.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=tuple(fds),
            start_new_session=True,
        )
        self._words = threading.Thread(target=self._repeat, name="control-words", daemon=True)
        self._words.start()

    def order(self, orders: ControlConfig) -> None:
        self._ordered = True
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asdict(orders)).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._process.wait()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Waits for a process that was told to stop, for STOP_S at most, and kills one that shows no sign of life for
        SILENT_S. Safe to call twice.
        """
        began = time.monotonic()
        while self._process.poll() is None:
            phase, beat_s = Phase(int(self._board.control["phase"])), int(self._board.control["beat_ns"]) / 1e9
            allowed = began + STOP_S
            if phase not in _CANNOT_BEAT:
                allowed = min(allowed, max(began, beat_s) + SILENT_S)
            if time.monotonic() > allowed:
                if phase not in _CANNOT_BEAT:
                    self._say("the control process does not answer and is killed")
                self._process.kill()
                self._process.wait()
            time.sleep(0.01)
        self.close()

    def let_go(self) -> None:
        """Waits no more for a process that was told to stop: it ends by itself, as where its parent was killed."""
        self._let_go = True
        self.close()

    def close(self) -> None:
        """Closes the pipes; a process without orders, which holds no device yet, is killed. Safe to call twice."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if not self._ordered:
            self._process.kill()
        if self._let_go:
            return
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._words.join(1.0)
        self._process.stdout.close()

    def _repeat(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.last_words = line.decode(errors="replace").rstrip()
            self._say(self.last_words)
