"""A tracker in a process of its own: no import, network or disk of it can stop or slow learning.

The process gets one JSON object a line on its standard input and finishes when that closes, which it also does when
the learner is killed: what was logged until then is kept, and an upload goes on after the learner has ended.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

QUEUE_LINES = 1000
LOOK_EVERY_S = 0.5
SAID_WHY = 4
"""Exit code of the process after the one line that says why it stops."""


class ProcessTracker:
    """A ``Tracker`` that hands lines to ``python -m metrics.tracker_child``.

    The first failure is said once on stderr, and what follows is dropped: metrics.jsonl has it all.

    Attributes:
        fault: Why nothing more is logged; empty while all is well.

    Args:
        kind: ``wandb`` or ``trackio``.
        run_folder: Where it keeps what it keeps.
        run_id: A run of the same id is continued.
        name: Shown name of the run.
        config: The resolved config.
        project: That the run belongs to.
    """

    def __init__(
        self, kind: str, run_folder: Path, *, run_id: str, name: str, config: Mapping[str, Any], project: str
    ) -> None:
        self._kind = kind
        self.fault = ""
        self._lines: queue.Queue[bytes | None] = queue.Queue(QUEUE_LINES)
        # A session of its own: Ctrl-C reaches the learner, which then closes the input.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "metrics.tracker_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        order = {"kind": kind, "run_folder": str(run_folder.resolve()), "run_id": run_id, "name": name}
        self._lines.put(_line(order | {"config": config, "project": project}))
        self._thread = threading.Thread(target=self._feed, name=f"tracker-{kind}", daemon=True)
        self._thread.start()

    def log(self, metrics: Mapping[str, float], env_steps: int, updates: int) -> None:
        if self.fault:
            return
        try:
            self._lines.put_nowait(_line({"metrics": dict(metrics), "env_steps": env_steps, "updates": updates}))
        except queue.Full:
            self._fail(f"it is {QUEUE_LINES} lines behind")

    def finish(self, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        try:
            self._lines.put(None, timeout=timeout_s)
            self._thread.join(max(deadline - time.monotonic(), 0.0))
        except queue.Full:
            self._fail("it takes no more lines")
        try:
            self._ended(self._process.wait(max(deadline - time.monotonic(), 0.01)))
        except subprocess.TimeoutExpired:
            # Nobody waits for it any more; without this Python would warn of a process left behind.
            self._process.returncode = 0

    def _feed(self) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(OSError):
            while (line := self._next_line()) is not None:
                pipe.write(line)
                pipe.flush()
        with contextlib.suppress(OSError):
            pipe.close()
        if line is not None or self._process.poll() is not None:
            self._ended(self._process.wait())

    def _next_line(self) -> bytes | None:
        """The next line for the process; None where there is none more, or nobody to take it."""
        while self._process.poll() is None:
            with contextlib.suppress(queue.Empty):
                return self._lines.get(timeout=LOOK_EVERY_S)
        return None

    def _ended(self, code: int) -> None:
        """The process has ended, of itself or because it was killed."""
        if code == SAID_WHY:
            self.fault = self.fault or f"tracker={self._kind} stopped; its reason is in the learner's output"
        elif code < 0:
            self._fail(f"its process was killed by signal {-code}")
        elif code:
            self._fail(f"its process ended with exit code {code}")

    def _fail(self, reason: str) -> None:
        if not self.fault:
            self.fault = f"tracker={self._kind} stopped: {reason}"
            say_stopped(self._kind, reason)


def say_stopped(kind: str, reason: str) -> None:
    """The one warning a tracker gives."""
    text = " ".join(reason.split())[:300]
    print(
        f"tracker={kind} stopped: {text}. Learning goes on; all metrics are in metrics.jsonl.",
        file=sys.stderr,
        flush=True,
    )


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"
