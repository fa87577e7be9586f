"""What a person at the actor's terminal sees: a live panel, or a line every few seconds where there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from actor.shared import Board, Phase
from transport.plain_text import plain_text

WORDS = {
    Phase.STARTING: "starting",
    Phase.WAITING_POLICY: "holding still: waiting for the first policy",
    Phase.WAITING_LEARNER: "holding: the learner is behind",
    Phase.WAITING_PERSON: "waiting for you",
    Phase.WAITING_SPOOL: "holding: the spool is full until the learner takes more",
    Phase.RUNNING: "running",
    Phase.EVALUATING: "evaluating",
    Phase.CLOSING: "closing",
    Phase.STOPPED: "stopped",
    Phase.WAITING_REWARD: "holding still: waiting for a classifier in RUN/reward of the learner, or set reward.model=",
}
HELD = (Phase.WAITING_LEARNER, Phase.WAITING_SPOOL)
"""Held until the learner takes steps."""
SILENT_AFTER_S = 5.0


class ActorConsole:
    """A context manager; ``refresh`` is called often and draws as often as is useful.

    Args:
        board: Where the control process says how it does.
        name: Of the actor.
        every_s: Period of the plain line.
    """

    def __init__(self, board: Board, name: str, every_s: float) -> None:
        self._board = board
        self._name = name
        self._every_s = every_s
        self._console = Console(highlight=False, soft_wrap=True)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True) if sys.stdout.isatty() else None
        self._due_s = 0.0
        self._last = ""

    def __enter__(self) -> ActorConsole:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(Text(plain_text(f"actor: {text}", None)))

    def refresh(self, *, connected: bool, undelivered: int, fault: str = "") -> None:
        rows = status(self._board, connected=connected, undelivered=undelivered, fault=fault)
        if self._live is not None:
            table = Table.grid(padding=(0, 2))
            table.add_row("actor", self._name)
            for key, value in rows.items():
                table.add_row(key, Text(plain_text(value, None)))
            self._live.update(table)
            return
        now = time.monotonic()
        line = ", ".join(f"{key} {value}" for key, value in rows.items())
        if now >= self._due_s and line != self._last:
            self._due_s = now + self._every_s
            self._last = line
            self.say(line)


def status(board: Board, *, connected: bool, undelivered: int, fault: str = "") -> dict[str, str]:
    """Name and value of every figure shown, in order. ``fault``: why the learner stores nothing now."""
    control = board.control
    phase = Phase(int(control["phase"]))
    steps = int(control["env_steps"])
    rows = {"state": WORDS[phase] + ("" if connected else ", learner away")}
    if fault:
        rows["state"] = f"{'holding' if phase in HELD else WORDS[phase]}: the learner cannot store steps: {fault}"
    silent_s = (time.monotonic_ns() - int(control["beat_ns"])) / 1e9
    if phase is not Phase.STARTING and phase is not Phase.STOPPED and silent_s > SILENT_AFTER_S:
        rows["state"] = f"the environment has not answered for {silent_s:.0f} s"
    rows["steps with evaluations"] = str(steps)
    rows["episodes"] = str(int(control["episodes"]))
    if scored := int(control["scored"]):
        rows["success"] = f"{int(control['successes'])}/{scored}"
    rows["by a person"] = f"{100 * int(control['human_steps']) / max(steps, 1):.0f} %"
    rows["policy version"] = str(int(control["policy_version"]))
    rows["undelivered"] = str(undelivered)
    if held := int(control["held_steps"]):
        rows["held"] = str(held)
    if p99 := float(control["period_error_p99_ms"]):
        p50, skipped = float(control["period_error_p50_ms"]), int(control["skipped_periods"])
        rows["period error"] = f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, {skipped} skipped"
    if board.reward:
        rows["reward"] = board.reward
    if board.doing:
        rows["operator"] = board.doing
    return rows
