"""Live progress of a run in the terminal; plain lines where the output is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from learner.console import phase_of
from metrics import names
from transport.plain_text import plain_text

PLAIN_EVERY_S = 5.0
_ALSO_THE_FAULT = ": the learner cannot store steps"  # of actor.console


class Progress:
    """Shows the newest status of a learner. Use as a context manager.

    Args:
        title: First line, e.g. the task and the run folder.
        started_s: time.monotonic() when the command began.
    """

    def __init__(self, title: str, started_s: float) -> None:
        self._console = Console()
        self._title = title
        self._started_s = started_s
        self._plain_s = float("-inf")
        self._said = ("", "")
        self._live = Live(console=self._console, refresh_per_second=4, transient=False) if self.is_terminal else None

    @property
    def is_terminal(self) -> bool:
        return self._console.is_terminal

    def show(self, status: Any, doing: str, note: str = "") -> None:
        """Shows a ``Status`` (None before there is one), what the operator is doing, and a note on what goes on: by
        default the phase."""
        phase, note = (note, note) if status is None or note else (status.phase, phase_of(status))
        if status is not None and status.fault:
            doing = doing.partition(_ALSO_THE_FAULT)[0]
        if self._live is not None:
            self._live.update(self._picture(status, doing, note))
            return
        now = time.monotonic()
        said = (phase, status.fault if status is not None else "")
        if said != self._said or now - self._plain_s >= PLAIN_EVERY_S:
            self._plain_s, self._said = now, said
            print(self._line(status, doing, note), flush=True)

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def _line(self, status: Any, doing: str, note: str) -> str:
        elapsed = f"{time.monotonic() - self._started_s:6.1f} s"
        if status is None:
            return f"{elapsed}  {note}"
        parts = [f"{label} {value}" for label, value in cells(status)]
        line = f"{elapsed}  {note}: " + ", ".join(parts) + (f"; {plain_text(doing)}" if doing else "")
        if to_do := to_go(status):
            line += f"; to go: {to_do}"
        return line + (f"; FAULT: {plain_text(status.fault)}" if status.fault else "")

    def _picture(self, status: Any, doing: str, note: str) -> Group:
        elapsed = time.monotonic() - self._started_s
        head = Text.assemble((self._title, "bold"), "  ", (f"{elapsed:.0f} s", "cyan"), "  ", (note, "dim"))
        if status is None:
            return Group(head)
        grid = Table.grid(padding=(0, 3, 0, 0))
        for _ in range(4):
            grid.add_column(no_wrap=True)
        pairs = [Text.assemble((f"{label} ", "dim"), (value, "bold")) for label, value in cells(status)]
        for start in range(0, len(pairs), 4):
            grid.add_row(*pairs[start : start + 4])
        person = Text.assemble(("now: ", "dim"), plain_text(doing) or "-")
        person.truncate(self._console.width, overflow="ellipsis")
        rows: list[RenderableType] = [head, grid, person]
        if to_do := to_go(status):
            rows.append(Text.assemble(("to go: ", "dim"), to_do))
        if status.fault:
            rows.insert(1, Text.assemble(("FAULT: ", "bold red"), plain_text(status.fault)))
        return Group(*rows)


def cells(status: Any) -> list[tuple[str, str]]:
    """Label and value of what the terminal shows of a ``Status``."""
    metrics = status.metrics

    def rate(name: str) -> str:
        return f"{metrics[name]:.0%}" if name in metrics else "-"

    def number(name: str, digits: int = 1) -> str:
        return f"{metrics[name]:.{digits}f}" if name in metrics else "-"

    return [
        ("training", f"{status.elapsed_s:.0f} s"),
        ("steps", f"{status.env_steps:,}"),
        ("episodes", f"{status.episodes:,}"),
        ("success", rate(names.SUCCESS_RATE)),
        ("autonomous", rate(names.SUCCESS_RATE_AUTONOMOUS)),
        ("evaluation", rate(names.EVAL_SUCCESS_RATE)),
        ("interventions", rate(names.INTERVENTION_RATE)),
        ("updates", f"{status.updates:,}"),
        ("updates/s", number(names.UPDATES_PER_S, 0)),
        ("update-to-data", number(names.UTD_RATIO, 2)),
        ("replay", f"{status.replay_rows:,} + {status.demonstration_rows:,} demo"),
        ("policy lag", f"{number(names.POLICY_LAG_STEPS, 0)} steps"),
    ]


def to_go(status: Any) -> str:
    """What is still open of the conditions on which the run ends by success; empty where nothing is, or none can."""
    return ", ".join(_open(condition) for condition in status.stop_conditions if not condition.met)


def _open(condition: Any) -> str:
    value = condition.value if condition.HasField("value") else None
    if condition.name == names.EVAL_SUCCESS_RATE:
        stands = "not evaluated yet," if value is None else f"{value:.2f} of"
        row = f" ({condition.reached} of {condition.in_a_row} in a row)" if condition.in_a_row > 1 else ""
        return f"success {stands} {condition.mark:.2f}{row}"
    if condition.name == names.EVAL_CYCLE_STEPS:
        stands = "not known yet," if value is None else f"{value:.1f} of"
        return f"cycle {stands} at most {condition.mark:.1f}"
    return f"interventions {value:.1%} of under {condition.mark:.0%}"
