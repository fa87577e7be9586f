"""When training ends: the policy succeeds on its own, or a cap on steps or time is reached; and what is still open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from learner.config import EvaluationConfig, LearnerConfig, StopConfig
from learner.divergence import NOT_FINITE
from learner.evaluation import EvaluationResult
from learner.evaluator import certify
from metrics import names

if TYPE_CHECKING:
    from learner.training import Trainer

CAP_REACHED = 3


@dataclass(frozen=True)
class Ending:
    """Why the loop ended.

    Attributes:
        reason: In words.
        outcome: ``autonomous``, ``cap``, ``diverged`` or ``interrupted``.
        exit_code: Of the process.
    """

    reason: str
    outcome: str
    exit_code: int


@dataclass(frozen=True)
class StopCondition:
    """One condition of success on its own.

    Attributes:
        name: The metric that it is about.
        value: Where it stands, in the unit of the metric; None before it is known.
        mark: What ``value`` must reach or stay below.
        met: Whether it holds.
        reached: Newest evaluations in a row that reached the mark, at most ``in_a_row``.
        in_a_row: How many must; 0 for a condition that is not about evaluations in a row.
    """

    name: str
    value: float | None
    mark: float
    met: bool
    reached: int = 0
    in_a_row: int = 0


def stop_conditions(
    results: Sequence[EvaluationResult],
    config: EvaluationConfig,
    stop: StopConfig,
    *,
    operator_cycle_steps: float | None,
    intervention_rate: float | None,
) -> list[StopCondition]:
    """Where each condition stands. The policy succeeds on its own when all are met.

    Args:
        results: Evaluations in order.
        config: The mark, and how many in a row must reach it.
        stop: The other marks.
        operator_cycle_steps: Mean steps the operator needs. The policy's mean cycle over the last ``in_a_row``
            evaluations may not exceed ``stop.cycle_ratio`` times this; None, and no condition, where it is not known.
        intervention_rate: Share of human steps in the recent training episodes; None, and no condition, where there
            are none.
    """
    last = results[-config.in_a_row :]
    reached = sum(1 for _ in takewhile(lambda result: result.success_rate >= config.success_mark, reversed(last)))
    found = [
        StopCondition(
            names.EVAL_SUCCESS_RATE,
            last[-1].success_rate if last else None,
            config.success_mark,
            reached == config.in_a_row,
            reached,
            config.in_a_row,
        )
    ]
    if operator_cycle_steps is not None:
        mark = stop.cycle_ratio * operator_cycle_steps
        cycles = [result.cycle_steps for result in last if result.cycle_steps is not None]
        cycle = sum(cycles) / len(cycles) if cycles else None
        quick = cycle is not None and cycle <= mark
        found.append(StopCondition(names.EVAL_CYCLE_STEPS, cycle, mark, quick))
    if intervention_rate is not None:
        rare = intervention_rate < stop.intervention_rate
        found.append(StopCondition(names.INTERVENTION_RATE, intervention_rate, stop.intervention_rate, rare))
    return found


class StopRule:
    """Asked by the update loop whether training is over.

    Attributes:
        conditions: Where success on its own stood at the last ``check``; empty where it does not end training. The
            list is replaced, never changed: any thread may read it.

    Args:
        config: Settings of the learner.
    """

    def __init__(self, config: LearnerConfig):
        self.config = config
        self.conditions: list[StopCondition] = []

    def check(self, trainer: Trainer) -> Ending | None:
        """Why training is over now; None while it is not."""
        stop, steps = self.config.stop, trainer.metrics.env_steps
        if trainer.diverged and (stop.when_autonomous or stop.max_env_steps or stop.max_time_s):
            return Ending(NOT_FINITE, "diverged", 1)  # without updates no cap may ever be reached
        if stop.when_autonomous:
            self.conditions = stop_conditions(
                trainer.schedule.results,
                self.config.evaluation,
                stop,
                operator_cycle_steps=trainer.metrics.operator_cycle_steps,
                intervention_rate=trainer.metrics.intervention_rate,
            )
            if all(condition.met for condition in self.conditions):
                certify(trainer)
                last = trainer.schedule.results[-1]
                return Ending(
                    f"the policy succeeds on its own: {last.successes} of {last.episodes} after {steps} steps",
                    "autonomous",
                    0,
                )
        short = CAP_REACHED if stop.when_autonomous else 0
        if stop.max_env_steps and steps >= stop.max_env_steps:
            return Ending(f"stop.max_env_steps={stop.max_env_steps} reached", "cap", short)
        if stop.max_time_s and trainer.elapsed_s >= stop.max_time_s:
            return Ending(f"stop.max_time_s={stop.max_time_s:g} reached", "cap", short)
        return None
