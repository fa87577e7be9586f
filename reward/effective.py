"""What a step was worth and how its episode ended, once everybody has spoken.

A reward is logged by its source. Within one step a person overrides a classifier, which overrides the environment. A
*verdict* is a word on a whole episode: an amendment, or an end that a person or an operator gave. The last verdict in
log order wins, and its effect is computed from what was recorded, never from an earlier verdict:

- success: reward 1 and terminated at the named step; later steps leave sampling.
- failure: where the episode was recorded as a success, reward 0 and truncated at its last step; else as recorded.
- discarded: no step is sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from episodes.outcome import Outcome
from transport import records_pb2 as pb

SUCCESS_REWARD = 1.0
PEOPLE = ("person", "operator")

_RANKS = {"env": 1, "classifier": 2, "person": 3}
_VERDICTS = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.DISCARDED)


@dataclass(frozen=True)
class Verdict:
    """A word on a whole episode.

    Attributes:
        outcome: SUCCESS, FAILURE or DISCARDED.
        step: Index of the step where success was reached, None for the last one recorded. Below 0 where the episode's
            beginning is no longer kept: everything kept came later.
    """

    outcome: Outcome
    step: int | None = None


@dataclass(frozen=True)
class Effective:
    """The steps of an episode as learning takes them; every array has shape (T,).

    Attributes:
        reward: float32.
        terminated: The value after the step is zero.
        truncated: The episode stops here and its value is bootstrapped.
        sampled: False where the step has left sampling.
    """

    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    sampled: np.ndarray


def step_reward(rewards: Sequence[pb.Reward]) -> float:
    """The reward of one step from its sources: person over classifier over env, any other source last.

    Of several by the same rank the last counts; 0 where there is none.
    """
    if len(rewards) == 1:
        return rewards[0].value
    value, best = 0.0, 0
    for reward in rewards:
        rank = _RANKS.get(reward.source.partition(":")[0], 0)
        if rank >= best:
            value, best = reward.value, rank
    return value


def effective(
    reward: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    *,
    recorded: Outcome | None = None,
    verdict: Verdict | None = None,
) -> Effective:
    """The effective reward, terminated and truncated of an episode's steps.

    Args:
        reward: Reward of each step by ``step_reward``, shape (T,).
        terminated: As recorded, shape (T,).
        truncated: As recorded, shape (T,).
        recorded: Outcome by ``recorded_outcome``; None while the episode is running.
        verdict: The last word on the episode; None where nobody gave one.
    """
    reward, terminated, truncated = reward.astype(np.float32), terminated.astype(bool), truncated.astype(bool)
    sampled = np.ones(len(reward), bool)
    if verdict is None or len(reward) == 0:
        return Effective(reward, terminated, truncated, sampled)
    last = len(reward) - 1
    if verdict.outcome is Outcome.DISCARDED:
        sampled[:] = False
    elif verdict.outcome is Outcome.FAILURE and recorded is Outcome.SUCCESS:
        reward[last], terminated[last], truncated[last] = 0.0, False, True
    elif verdict.outcome is Outcome.SUCCESS:
        step = last if verdict.step is None else verdict.step
        if recorded is not None:
            step = min(step, last)
        if 0 <= step <= last:
            reward[step], terminated[step], truncated[step] = SUCCESS_REWARD, True, False
        sampled[max(step + 1, 0) :] = False
    return Effective(reward, terminated, truncated, sampled)


def verdict_of_end(end: pb.EpisodeEnd) -> Verdict | None:
    """The verdict an episode's end carries: any discard, and success or failure by a person or an operator."""
    outcome = _outcome(end.outcome)
    if outcome is Outcome.DISCARDED or (end.author in PEOPLE and outcome in _VERDICTS):
        return Verdict(outcome)
    return None


def verdict_of_amendment(amendment: pb.Amendment) -> Verdict | None:
    """The verdict of an amendment; None for an outcome that no amendment may name."""
    outcome = _outcome(amendment.outcome)
    if outcome not in _VERDICTS:
        return None
    return Verdict(outcome, amendment.step if outcome is Outcome.SUCCESS else None)


def recorded_outcome(end: pb.EpisodeEnd, terminated: bool, reward: float) -> Outcome:
    """The outcome recorded with the steps, to which verdicts apply.

    A person may end as a failure what the environment terminated with a reward: that was recorded as a success.

    Args:
        end: The episode's end.
        terminated: Whether the last step was recorded as terminated.
        reward: Reward of the last step.
    """
    if end.author in PEOPLE and terminated and reward > 0:
        return Outcome.SUCCESS
    return _outcome(end.outcome)


def final_outcome(recorded: Outcome, verdict: Verdict | None) -> Outcome:
    """What became of an episode in the end: the last verdict, else the outcome recorded."""
    return recorded if verdict is None else verdict.outcome


def _outcome(number: int) -> Outcome:
    return Outcome(number) if number in Outcome else Outcome.CUT
