"""What a learner answers to GetStatus."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import TYPE_CHECKING

from metrics import names
from transport import service_pb2 as pb

if TYPE_CHECKING:
    from learner.training import Trainer


def status_message(trainer: Trainer) -> pb.Status:
    """The state of a run now. May be called from any thread: it reads single values and changes nothing."""
    metrics, ingest = trainer.metrics, trainer.ingest
    return pb.Status(
        run_id=trainer.folder.run_id,
        phase=trainer.phase,
        elapsed_s=trainer.elapsed_s,
        env_steps=metrics.env_steps,
        episodes=metrics.episodes,
        updates=trainer.algorithm.updates,
        policy_version=max(trainer.version, 0),
        replay_rows=trainer.replay.rows,
        demonstration_rows=trainer.replay.demonstration_size,
        log_bytes=ingest.drained_offset,
        metrics=trainer.reporter.newest
        | ({names.UPDATES_PER_S: 0.0} if trainer.progress.stands else {})
        | trainer.cloning,
        actors=[
            pb.ActorStatus(
                name=spool.actor,
                spool_id=spool.spool_id,
                connected=spool.connected,
                acknowledged=spool.acknowledged,
                env_steps=spool.training_steps,
                steps_per_s=spool.steps_per_s,
                policy_version=spool.policy_version,
                policy_lag_steps=metrics.spool_lag(spool.spool_id),
                seconds_since_heard=min(spool.seconds_since_heard, 1e9),
            )
            for spool in ingest.spools()
            if not spool.spool_id.startswith("demos:")
        ],
        finished=ingest.finished is not None,
        finished_reason=ingest.finished or "",
        run_folder=str(trainer.folder.path.resolve()),
        version=software_version(),
        fault=trainer.fault,
        stop_conditions=[pb.StopCondition(**vars(condition)) for condition in trainer.stop_rule.conditions],
    )


def starting_status(run_id: str, run_folder: str) -> pb.Status:
    """What is answered until there is a trainer."""
    return pb.Status(run_id=run_id, phase="waiting", run_folder=run_folder, version=software_version())


@functools.cache
def software_version() -> str:
    try:
        return importlib.metadata.version("tandem-rl")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
