"""Progress on the learner's own terminal: a live table where there is one, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from typing import Any

from metrics import names
from transport import service_pb2 as pb
from transport.plain_text import plain_text

LINE_EVERY_S = 5.0
_LIVE_EVERY_S = 0.25


class Console:
    """Says what happens (``event``) and how it goes (``update``). Silent where ``enabled`` is False, but for events.

    Args:
        enabled: Whether progress is shown.
    """

    def __init__(self, enabled: bool = True):
        self._enabled = enabled
        self._live: Any = None
        self._next_s = 0.0
        if enabled and sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(auto_refresh=False, transient=True)
            self._live.start()

    def event(self, text: str) -> None:
        """One line that stays."""
        if self._live is not None:
            self._live.console.print(text, highlight=False, markup=False)
        else:
            _print(text)

    def due(self, now_s: float | None = None) -> bool:
        """Whether ``update`` would show anything now."""
        return self._enabled and (time.monotonic() if now_s is None else now_s) >= self._next_s

    def update(self, status: pb.Status, *, stands: bool = False) -> None:
        """Shows ``status`` where it is time to, and with ``stands``, or a fault and no updates, what is waited for."""
        now_s = time.monotonic()
        if not self.due(now_s):
            return
        self._next_s = now_s + (_LIVE_EVERY_S if self._live is not None else LINE_EVERY_S)
        if self._live is not None:
            self._live.update(_table(status, stands), refresh=True)
        else:
            _print(line(status, stands))

    def close(self) -> None:
        """Gives the terminal back. May be called twice."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass  # a full disk behind the output is no reason to end a run


def phase_of(status: pb.Status) -> str:
    """The phase, and how far it is where that can be said."""
    if names.CLONING_UPDATES not in status.metrics:
        return status.phase
    done, due = status.metrics[names.CLONING_UPDATES], status.metrics[names.CLONING_UPDATES_DUE]
    return f"{status.phase} ({done:,.0f} of {due:,.0f} updates)"


def line(status: pb.Status, stands: bool) -> str:
    """A status in one line; ``stands``: no updates are made."""
    parts = [f"{phase_of(status)} {status.elapsed_s:.0f} s", f"{status.env_steps} steps", f"{status.episodes} episodes"]
    values = dict(status.metrics)
    for key, name, form in _SHOWN:
        if key in values:
            parts.append(f"{name} {format(values[key], form)}")
    parts.append(f"{status.updates} updates")
    connected = [actor.name for actor in status.actors if actor.connected]
    parts.append(f"actors: {', '.join(connected)}" if connected else "no actor")
    if why := _waits(status, stands):
        parts.append(why)
    return " | ".join(parts)


def _waits(status: pb.Status, stands: bool) -> str:
    """What is waited for, where no updates are made; empty where they are."""
    if not stands and status.metrics.get(names.UPDATES_PER_S):
        return ""
    here = any(actor.connected for actor in status.actors)
    return status.fault or ("waiting for the actors' steps" if stands and here else "")


_SHOWN = (
    (names.SUCCESS_RATE, "success", ".0%"),
    (names.SUCCESS_RATE_AUTONOMOUS, "autonomous", ".0%"),
    (names.EVAL_SUCCESS_RATE, "evaluation", ".0%"),
    (names.INTERVENTION_RATE, "interventions", ".1%"),
    (names.EPISODE_LENGTH, "length", ".1f"),
    (names.UPDATES_PER_S, "updates/s", ".0f"),
    (names.UTD_RATIO, "utd", ".2f"),
    (names.POLICY_LAG_STEPS, "lag", ".0f"),
    (names.CRITIC_LOSS, "critic loss", ".3g"),
    (names.Q_MEAN, "Q", ".3f"),
)


def _table(status: pb.Status, stands: bool) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan")
    table.add_column()
    table.add_row(phase_of(status), f"{status.elapsed_s:.0f} s, policy version {status.policy_version}")
    table.add_row("steps", f"{status.env_steps} in {status.episodes} episodes")
    table.add_row("updates", f"{status.updates}")
    table.add_row("replay", f"{status.replay_rows} rows, {status.demonstration_rows} from people")
    for key, name, form in _SHOWN:
        if key in status.metrics:
            table.add_row(name, format(status.metrics[key], form))
    if why := _waits(status, stands):
        table.add_row("waits", Text(plain_text(why)))
    for actor in status.actors:
        state = f"{actor.steps_per_s:.0f} steps/s" if actor.connected else f"away for {actor.seconds_since_heard:.0f} s"
        table.add_row(
            Text(plain_text(actor.name)), f"{actor.env_steps} steps, {state}, lag {actor.policy_lag_steps:.0f}"
        )
    return table
