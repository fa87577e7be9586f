"""What the control process counts for the people who watch; a control process started again counts on."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from actor.episode import Episode
from actor.pacing import Pacer
from actor.shared import Board
from episodes.outcome import Outcome

SCORED_EPISODES = 20


class Tally:
    """Counts on the board, from where the last control process left them.

    Args:
        board: Shared with the comms process, which shows the counts.
    """

    def __init__(self, board: Board) -> None:
        self._control = before = board.control
        self._steps = int(before["env_steps"])
        self._human = int(before["human_steps"])
        self._held = int(before["held_steps"])
        successes, scored = int(before["successes"]), int(before["scored"])
        self._scores = deque([False] * (scored - successes) + [True] * successes, maxlen=SCORED_EPISODES)

    @property
    def evaluated(self) -> int:
        """Number of the newest evaluation request answered; 0 for none."""
        return int(self._control["evaluated"])

    @evaluated.setter
    def evaluated(self, number: int) -> None:
        self._control["evaluated"] = number

    def step(self, episode: Episode, policy_version: int) -> None:
        """Counts the step just made in ``episode``, which goes on."""
        control = self._control
        control["beat_ns"] = time.monotonic_ns()
        control["env_steps"] = self._steps + episode.steps
        control["human_steps"] = self._human + episode.human_steps
        control["held_steps"] = self._held + episode.held_steps
        control["policy_version"] = policy_version
        control["episode_steps"] = episode.steps
        control["episode_return"] = episode.episode_return

    def score(self, episode: Episode) -> None:
        """Counts the outcome of a training episode, unless it was cut or discarded."""
        if episode.outcome not in (Outcome.CUT, Outcome.DISCARDED):
            self._scores.append(episode.outcome is Outcome.SUCCESS)

    def end(self, episode: Episode, pacer: Pacer) -> None:
        """Counts an episode that has ended, and how well the pacer kept its period."""
        self._steps += episode.steps
        self._human += episode.human_steps
        self._held += episode.held_steps
        control = self._control
        control["episodes"] += np.uint64(1)
        control["successes"], control["scored"] = sum(self._scores), len(self._scores)
        control["overruns"], control["skipped_periods"] = pacer.overruns, pacer.skipped
        control["period_error_p50_ms"], control["period_error_p99_ms"] = pacer.errors_ms
