"""When and what a learner reports of its training."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from learner.status import status_message
from metrics import names

if TYPE_CHECKING:
    from learner.training import Trainer

STANDS_S = 2.0


class Progress:
    """Shows and writes how it goes, about once a second while something moves.

    Attributes:
        finite_updates: Updates so far when the losses were last seen to be finite.
        stands: Whether learning has started, and no update was due or could be made for STANDS_S.
    """

    def __init__(self) -> None:
        self.finite_updates = 0
        self.stands = False
        self._moved = (-1, 0.0)
        self._report_s = 0.0
        self._reported = (-1, -1, -1)
        self._pace: tuple[float, int] | None = None
        self._fault = ""

    def report(self, trainer: Trainer, *, force: bool = False) -> None:
        """Where it is time to, ``force`` says so, or the first update was made."""
        now_s = time.monotonic()
        busy = not trainer.config.learning or (not trainer.diverged and trainer.limiter.due() > 0)
        if trainer.algorithm.updates != self._moved[0] or busy:
            self._moved = trainer.algorithm.updates, now_s
        self.stands = trainer.limiter.started and now_s - self._moved[1] > STANDS_S
        if trainer.console.due(now_s):
            trainer.console.update(status_message(trainer), stands=self.stands)
        fault = trainer.fault
        if fault and fault not in (self._fault, trainer.diverged, trainer.reporter.tracker_fault):
            trainer.console.event(fault)
        self._fault = fault
        updates = trainer.algorithm.updates
        moved = (trainer.metrics.env_steps, updates, trainer.metrics.episodes)
        first = updates > 0 >= self._reported[1]
        early = now_s - self._report_s < trainer.config.report_every_s and not first and not force
        if moved == self._reported or early:
            return
        losses = trainer.means.take()
        if odd := [name for name, value in losses.items() if not math.isfinite(value)]:
            trainer.diverge(", ".join(odd))
        else:
            self.finite_updates = updates
        values = trainer.metrics.metrics() | trainer.publisher.lag.metrics() | losses
        if self._pace is not None and now_s > self._pace[0]:
            values[names.UPDATES_PER_S] = (updates - self._pace[1]) / (now_s - self._pace[0])
        values[names.UTD_RATIO] = trainer.limiter.ratio
        values[names.DROPPED_UPDATES] = trainer.limiter.dropped
        values[names.REPLAY_SIZE] = trainer.replay.online_size
        values[names.DEMO_SIZE] = trainer.replay.demonstration_size
        values[names.DEMO_SHARE] = trainer.replay.last_demonstration_share
        write(trainer, values)
        self._reported, self._report_s, self._pace = moved, now_s, (now_s, updates)


def write(trainer: Trainer, values: dict[str, float]) -> None:
    """One line of metrics, at this moment of training."""
    trainer.reporter.write(
        values,
        time_s=trainer.elapsed_s,
        env_steps=trainer.metrics.env_steps,
        updates=trainer.algorithm.updates,
    )
