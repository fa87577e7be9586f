"""What the log says about episodes and steps: the honest rates, counts, returns and lags."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from episodes.outcome import Outcome, Purpose
from metrics import names
from reward.effective import (
    Verdict,
    effective,
    final_outcome,
    recorded_outcome,
    step_reward,
    verdict_of_amendment,
    verdict_of_end,
)
from transport import records_pb2 as pb

RECENT_STEPS = 2000
_VERSIONS_KEPT = 10_000
_COUNTED = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT)


@dataclass(slots=True, eq=False)
class EpisodeRecord:
    """One episode as it was logged, and what people said about it.

    Attributes:
        id: Episode id.
        actor: Name of its actor.
        spool_id: Its spool.
        purpose: ``Purpose`` number.
        evaluation_id: Of the request it answers, for evaluations.
        rewards: By source order, one per step.
        terminated: One per step.
        truncated: One per step.
        human_steps: Steps in which a person chose the action.
        interrupted: A step of it never returned.
        recorded: Outcome recorded at its end; None while it runs.
        verdict: The last word on it.
    """

    id: str
    actor: str
    spool_id: str
    purpose: int
    evaluation_id: int = 0
    rewards: list[float] = field(default_factory=list)
    terminated: list[bool] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    human_steps: int = 0
    interrupted: bool = False
    recorded: Outcome | None = None
    verdict: Verdict | None = None

    @property
    def steps(self) -> int:
        """Steps that returned."""
        return len(self.rewards)

    @property
    def outcome(self) -> Outcome:
        """What became of it in the end."""
        return final_outcome(self.recorded or Outcome.CUT, self.verdict)

    @property
    def success(self) -> bool:
        return self.outcome is Outcome.SUCCESS

    @property
    def counted(self) -> bool:
        """Whether its outcome says anything: neither discarded, nor cut off, nor empty."""
        return self.outcome in _COUNTED and self.steps > 0

    @property
    def autonomous(self) -> bool:
        return self.human_steps == 0

    @property
    def cycle_steps(self) -> int:
        """Steps to its end, or to where success was named."""
        if self.success and self.verdict is not None and self.verdict.step is not None:
            return min(self.verdict.step + 1, self.steps)
        return self.steps

    def effective_rewards(self) -> np.ndarray:
        """Rewards as learning takes them, shape (steps,), up to where success was named."""
        steps = effective(
            np.array(self.rewards, np.float32),
            np.array(self.terminated, bool),
            np.array(self.truncated, bool),
            recorded=self.recorded,
            verdict=self.verdict,
        )
        return steps.reward[steps.sampled]


class EpisodeMetrics:
    """Counts what the log's entries say, in log order; the same entries give the same counts.

    Attributes:
        env_steps: Steps of training episodes that returned, human ones included.
        steps_by_spool: The same per spool.
        episodes: Training episodes ended, discarded and cut ones included.
        held_steps: Steps of training episodes where safety held the arm.
        interrupted_steps: Steps in flight when a process died.
        newest_evaluation: Newest evaluation id in the log.
        recent: The last 20 training episodes that count.

    Args:
        gamma: Discount of ``return_to_go``.
        window: Training episodes of the running rates.
    """

    def __init__(self, gamma: float, window: int = names.WINDOW_EPISODES):
        self.gamma = gamma
        self.env_steps = 0
        self.steps_by_spool: dict[str, int] = {}
        self.episodes = 0
        self.held_steps = 0
        self.interrupted_steps = 0
        self.newest_evaluation = 0
        self.window = window
        self._open: dict[str, EpisodeRecord] = {}  # by spool, which has one at a time: of what died, no more is kept
        self._ended: dict[str, EpisodeRecord] = {}  # kept so that a later amendment finds them
        self._training: deque[EpisodeRecord] = deque(maxlen=8 * window)
        self._operator_cycles: dict[str, int | None] = {}  # by episode; None for one without success
        self._published: int | None = None
        self._superseded: dict[int, int] = {}
        self._superseded_at_start = 0
        self._lags: deque[int] = deque(maxlen=RECENT_STEPS)
        self._lag_by_spool: dict[str, int] = {}
        self._period_errors: deque[float] = deque(maxlen=RECENT_STEPS)

    def apply(self, entry: pb.LogEntry) -> EpisodeRecord | None:
        """Takes the next entry of the log. Returns the episode it ended or amended, if it did."""
        record = entry.record
        body = record.WhichOneof("body")
        if body == "step":
            self._step(entry.spool_id, record.step)
        elif body == "start":
            start = record.start
            self.newest_evaluation = max(self.newest_evaluation, start.evaluation_id)
            self._open[entry.spool_id] = EpisodeRecord(
                start.episode_id, entry.actor, entry.spool_id, start.purpose, start.evaluation_id
            )
        elif body == "end":
            return self._end(entry.spool_id, record.end)
        elif body == "amendment":
            return self._amend(record.amendment)
        return None

    def published(self, version: int) -> None:
        """Policy ``version`` was published now, which supersedes the one before; the first of a process, all before."""
        if self._published is None:
            self._superseded_at_start = self.env_steps
            self._lags.clear()
        else:
            self._superseded[self._published] = self.env_steps
            if len(self._superseded) > _VERSIONS_KEPT:
                del self._superseded[next(iter(self._superseded))]
        self._published = version

    @property
    def recent(self) -> list[EpisodeRecord]:
        return [e for e in self._training if e.counted][-self.window :]

    @property
    def intervention_rate(self) -> float | None:
        """Human steps among the steps of the recent episodes; None before the first."""
        recent = self.recent
        return sum(e.human_steps for e in recent) / sum(e.steps for e in recent) if recent else None

    @property
    def operator_cycle_steps(self) -> float | None:
        """Mean steps of successful demonstrations and wholly human episodes; None where there are none."""
        cycles = [steps for steps in self._operator_cycles.values() if steps is not None]
        return float(np.mean(cycles)) if cycles else None

    def spool_lag(self, spool_id: str) -> int:
        """Policy lag of the newest step of a spool."""
        return self._lag_by_spool.get(spool_id, 0)

    def metrics(self) -> dict[str, float]:
        """Newest values by their names in ``metrics.names``; absent where there is nothing to say."""
        values: dict[str, float] = {
            names.ENV_STEPS: self.env_steps,
            names.EPISODES: self.episodes,
            names.HELD_STEPS: self.held_steps,
            names.INTERRUPTED_STEPS: self.interrupted_steps,
        }
        recent = self.recent
        if recent:
            rewards = [e.effective_rewards() for e in recent]
            values[names.SUCCESS_RATE] = float(np.mean([e.success for e in recent]))
            values[names.INTERVENTION_RATE] = self.intervention_rate or 0.0
            values[names.INTERVENTION_RATE_EPISODES] = float(np.mean([not e.autonomous for e in recent]))
            values[names.EPISODE_RETURN] = float(np.mean([r.sum() for r in rewards]))
            values[names.EPISODE_LENGTH] = float(np.mean([e.steps for e in recent]))
            values[names.RETURN_TO_GO] = float(np.mean(np.concatenate([discounted(r, self.gamma) for r in rewards])))
            alone = [e.success for e in recent if e.autonomous]
            if alone:
                values[names.SUCCESS_RATE_AUTONOMOUS] = float(np.mean(alone))
        if self._lags:
            values[names.POLICY_LAG_STEPS] = float(np.mean(list(self._lags)[-100:]))
        if self._period_errors:
            p50, p99 = np.percentile(np.fromiter(self._period_errors, float), (50, 99))
            values[names.CONTROL_PERIOD_MS_P50], values[names.CONTROL_PERIOD_MS_P99] = float(p50), float(p99)
        return values

    def _step(self, spool_id: str, step: pb.Step) -> None:
        episode = self._open.get(spool_id)
        if episode is None or episode.id != step.episode_id:
            return
        training = episode.purpose == Purpose.TRAINING
        if step.interrupted:
            episode.interrupted = True
            self.interrupted_steps += training
            return
        episode.rewards.append(step_reward(step.rewards))
        episode.terminated.append(step.terminated)
        episode.truncated.append(step.truncated)
        episode.human_steps += step.human
        if not training:
            return
        self.env_steps += 1
        self.steps_by_spool[spool_id] = self.steps_by_spool.get(spool_id, 0) + 1
        self.held_steps += bool(step.held)
        lag = self._lag(step.policy_version)
        self._lags.append(lag)
        self._lag_by_spool[spool_id] = lag
        if step.period_error_ms:  # unset where there is no deadline: in lockstep
            self._period_errors.append(step.period_error_ms)

    def _lag(self, version: int) -> int:
        """Environment steps since ``version`` was superseded; 0 for the newest."""
        if self._published is None or version >= self._published:
            return 0
        return self.env_steps - self._superseded.get(version, self._superseded_at_start)

    def _end(self, spool_id: str, end: pb.EpisodeEnd) -> EpisodeRecord | None:
        episode = self._open.get(spool_id)
        if episode is None or episode.id != end.episode_id:
            return None
        del self._open[spool_id]
        terminated, reward = (episode.terminated[-1], episode.rewards[-1]) if episode.steps else (False, 0.0)
        episode.recorded = recorded_outcome(end, terminated, reward)
        episode.verdict = verdict_of_end(end) or episode.verdict
        self._ended[episode.id] = episode
        if episode.purpose == Purpose.TRAINING:
            self.episodes += 1
            self._training.append(episode)
        human = episode.steps > 0 and episode.human_steps == episode.steps
        if episode.purpose == Purpose.DEMONSTRATION or (episode.purpose == Purpose.TRAINING and human):
            self._operator_cycles[episode.id] = episode.cycle_steps if episode.success else None
        if len(self._ended) > 16 * self.window:
            del self._ended[next(iter(self._ended))]
        return episode

    def _amend(self, amendment: pb.Amendment) -> EpisodeRecord | None:
        verdict = verdict_of_amendment(amendment)
        running = (e for e in self._open.values() if e.id == amendment.episode_id)
        episode = self._ended.get(amendment.episode_id) or next(running, None)
        if episode is None or verdict is None:
            return None
        episode.verdict = verdict
        if episode.id in self._operator_cycles:
            self._operator_cycles[episode.id] = episode.cycle_steps if episode.success else None
        return episode if episode.recorded is not None else None


def discounted(rewards: np.ndarray, gamma: float) -> np.ndarray:
    """Discounted return from each step, shape (T,), float64."""
    result = np.zeros(len(rewards))
    total = 0.0
    for i in range(len(rewards) - 1, -1, -1):
        total = rewards[i] + gamma * total
        result[i] = total
    return result
