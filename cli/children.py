"""The programs a demo starts: each in a process group of its own, its output in a log file, ended by its own id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from cli.parent import PARENT_PIPE

GRACE_S = 3.5


class Child:
    """`tandem VERB ...` as a process of its own, which ends when this one dies.

    Attributes:
        name: For messages.
        log: File its output is appended to.

    Args:
        name: For messages.
        arguments: After `tandem`.
        log: File that takes its output.
        after: File it waits for, with its imports done; None to start at once. For the learner only.
    """

    def __init__(self, name: str, arguments: Sequence[str], log: Path, after: Path | None = None) -> None:
        self.name = name
        self.log = log
        self._output: IO[bytes] = log.open("ab")
        self._output.write(f"$ tandem {' '.join(arguments)}\n".encode())
        self._output.flush()
        self._start = self._output.tell()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", *(["cli.main"] if after is None else ["cli.standby", str(after)]), *arguments],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", PARENT_PIPE: "stdin"},
            process_group=0,
        )

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, or None when it still runs after ``timeout_s``."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def interrupt(self) -> None:
        """Asks it to stop, as Ctrl-C does."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Ends it and the processes it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Lets go of its files; a child that still runs ends."""
        self._output.close()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def tail(self, lines: int = 15) -> str:
        """The last lines it wrote in this life."""
        with open(self.log, "rb") as file:
            file.seek(self._start)
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def stop_all(children: Sequence[Child], grace_s: float = GRACE_S) -> list[str]:
    """Interrupts every child at once, and after ``grace_s`` kills what is left. Returns the names of the killed.

    A second Ctrl-C while it waits is ignored.
    """
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for child in children:
            child.interrupt()
        deadline = time.monotonic() + grace_s
        killed = []
        for child in children:
            if child.wait(max(deadline - time.monotonic(), 0.01)) is None:
                child.kill()
                killed.append(child.name)
            child.close()
        return killed
    finally:
        signal.signal(signal.SIGINT, handler)
