"""Asks actors for the evaluations that are due, and says what came of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from learner.checkpoint import CheckpointError, save_best
from learner.evaluation import EvaluationResult
from learner.ingest import SpoolStatus
from learner.progress import write
from metrics import names

if TYPE_CHECKING:
    from learner.training import Trainer

PRESENT_S = 5.0


def is_present(spool: SpoolStatus) -> bool:
    """Whether its actor is there, or was a moment ago."""
    return spool.connected or spool.seconds_since_heard < PRESENT_S


def ask_evaluation(trainer: Trainer, spools: Sequence[SpoolStatus]) -> None:
    """Asks one actor for the evaluation that is due, or another one where the first has left or fallen silent."""
    schedule = trainer.schedule
    connected = sorted(s.spool_id for s in spools if s.connected)
    if not trainer.limiter.started or not connected:
        return
    now_s = time.monotonic()
    if schedule.due(trainer.metrics.env_steps):
        checkpoint = trainer.save()
        if checkpoint is None:
            return
        schedule.skip_ids(trainer.metrics.newest_evaluation)
        request = schedule.ask(
            version=trainer.version,
            env_steps=trainer.metrics.env_steps,
            updates=trainer.algorithm.updates,
            checkpoint=checkpoint.name,
            payload=checkpoint.policy,
            spool_id=connected[0],
            now_s=now_s,
        )
    elif schedule.pending is not None and schedule.silent([s.spool_id for s in spools if is_present(s)], now_s):
        others = [spool_id for spool_id in connected if spool_id != schedule.pending.spool_id]
        request = schedule.ask_again((others or connected)[0], now_s)
    else:
        return
    trainer.publisher.request_evaluation(
        request.evaluation_id,
        request.version,
        request.payload,
        trainer.config.evaluation.episodes,
        request.first_seed,
        request.spool_id,
    )


def take_result(trainer: Trainer, result: EvaluationResult) -> None:
    """Logs a result, and points best.json at its checkpoint where it is the best so far."""
    values = {names.EVAL_SUCCESS_RATE: result.success_rate, names.EVAL_RETURN: result.episode_return}
    if result.cycle_steps is not None:
        values[names.EVAL_CYCLE_STEPS] = result.cycle_steps
    write(trainer, values)
    cycle = f", cycle {result.cycle_steps:.1f} steps" if result.cycle_steps is not None else ""
    best = ""
    if trainer.schedule.best is result:
        best = ", the best so far"
        _point_best(trainer, result)
    trainer.save_next = True
    trainer.console.event(
        f"evaluation at {result.env_steps} steps: {result.successes} of {result.episodes}{cycle}, "
        f"return {result.episode_return:.4g}{best}"
    )


def certify(trainer: Trainer) -> None:
    """Makes the best of the evaluations that end training the best of the run: an earlier one did not convince."""
    schedule = trainer.schedule
    certified = max(schedule.last, key=lambda result: result.rank)
    if certified != schedule.best:
        schedule.best = certified
        _point_best(trainer, certified)


def _point_best(trainer: Trainer, result: EvaluationResult) -> None:
    try:
        trainer.writer.flush(10.0)
        found = {**asdict(result), "success_rate": result.success_rate}
        save_best(trainer.folder.checkpoints, result.checkpoint, found)
    except (CheckpointError, OSError) as error:
        trainer.console.event(f"best.json was not written: {error}")
