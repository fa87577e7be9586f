"""The update-to-data ratio: how many updates are due, and how far lockstep actors may run ahead of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

UNLIMITED = 1 << 62


class UpdateLimiter:
    """Critic updates since learning started never exceed ``utd_ratio`` x online environment steps since then.

    What a slow learner is behind is bounded by ``max_deficit_updates``; what goes beyond is dropped and counted.

    Attributes:
        utd_ratio: Critic updates per online environment step.
        max_ahead: Environment steps that lockstep actors may be ahead of the ratio.
        max_deficit_updates: Most updates the learner may be behind.
        warmup_steps: Environment steps that actors may make, and must, before learning starts.
        started: Whether learning has started.
        started_at: Environment steps when it did.
        env_steps: Online environment steps so far.
        updates: Updates since learning started.
        dropped: Updates dropped since then.
    """

    def __init__(self, utd_ratio: float, *, max_ahead: int, max_deficit_updates: int, warmup_steps: int):
        if not utd_ratio > 0:
            raise ValueError(f"utd_ratio must be greater than 0. Got: {utd_ratio}")
        if max_deficit_updates < max_ahead * utd_ratio:
            raise ValueError(
                f"max_deficit_updates must be at least max_ahead x utd_ratio = {max_ahead * utd_ratio:g}, or lockstep "
                f"actors would run into dropped updates. Got: {max_deficit_updates}"
            )
        if max_ahead * utd_ratio < 1:
            raise ValueError(
                "max_ahead x utd_ratio must be at least 1, or lockstep actors would wait for an update that their "
                f"steps never earn. Got: {max_ahead} x {utd_ratio}. "
                f"Set learner.max_ahead to {math.ceil(1 / utd_ratio)} or more"
            )
        self.utd_ratio = utd_ratio
        self.max_ahead = max_ahead
        self.max_deficit_updates = max_deficit_updates
        self.warmup_steps = warmup_steps
        self.started = False
        self.started_at = 0
        self.env_steps = 0
        self.updates = 0
        self.dropped = 0

    @property
    def warm(self) -> bool:
        """Whether the environment steps of the warm-up are there."""
        return self.env_steps >= self.warmup_steps

    def start(self) -> None:
        """Learning starts: steps count from here on."""
        self.started, self.started_at = True, self.env_steps

    def add_steps(self, count: int = 1) -> None:
        self.env_steps += count

    def due(self) -> int:
        """Updates the ratio allows now. Drops, and counts, those beyond the bounded deficit."""
        if not self.started:
            return 0
        due = math.floor(self._earned + 1e-9) - self.updates - self.dropped
        if due > self.max_deficit_updates:
            self.dropped += due - self.max_deficit_updates
            due = self.max_deficit_updates
        return due

    def add_updates(self, count: int = 1) -> None:
        self.updates += count

    @property
    def ratio(self) -> float:
        """Updates per online environment step since learning started; 0 before."""
        steps = self.env_steps - self.started_at
        return self.updates / steps if self.started and steps else 0.0

    @property
    def steps_allowed(self) -> int:
        """Environment steps that all lockstep actors together may have made by now."""
        if not self.started:
            return max(self.warmup_steps, self.env_steps) + self.max_ahead
        done = self.updates + self.dropped
        ahead = math.floor(done / self.utd_ratio + 1e-9) + self.max_ahead
        # Rounded down, that may be a step short of the next update.
        return self.started_at + max(ahead, math.ceil((done + 1) / self.utd_ratio - 1e-9))

    @property
    def _earned(self) -> float:
        return self.utd_ratio * (self.env_steps - self.started_at)

    def state(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("started", "started_at", "env_steps", "updates", "dropped")}

    def load_state(self, state: Mapping[str, Any]) -> None:
        for key in self.state():
            setattr(self, key, state[key])


def share_credit(allowed: int, steps: Mapping[str, int], present: Iterable[str]) -> dict[str, int]:
    """Divides what lockstep actors may still do among those present.

    A slow actor keeps its share of what is left and no more, so it never holds the others; one that has gone has none.

    Args:
        allowed: Training steps that all spools together may have made.
        steps: Training steps of every spool so far.
        present: Spools whose actors are there.

    Returns:
        Training steps each spool present may have made, those so far included. Never more than ``allowed`` together,
        unless ``steps`` already are.
    """
    spools = sorted(present)
    if not spools:
        return {}
    share, rest = divmod(max(0, allowed - sum(steps.values())), len(spools))
    return {spool: steps.get(spool, 0) + share + (i < rest) for i, spool in enumerate(spools)}
