"""The end of a run: the actors are told, everything is saved, and what came of it is said and written down."""

from __future__ import annotations

import json
import time
from typing import Any

from episodes.durable import write_durably
from learner.checkpoint import CheckpointError
from learner.config import ConfigError
from learner.gpu_memory import out_of_memory_explained
from learner.resuming import resume_command
from learner.run_folder import plain
from learner.service import LearnerServer
from learner.stop_rule import Ending
from learner.stop_signal import STOPPING
from learner.training import FINISHED, Trainer
from metrics.tracker import describe_tracker

FAREWELL_S = 3.0
TRACKER_S = 20.0
TRACKER_INTERRUPTED_S = 1.5


def finish(trainer: Trainer, ending: Ending, server: LearnerServer) -> int:
    """Tells the actors, saves, says what came of it, and returns the exit code."""
    console = trainer.console
    interrupted = ending.outcome == "interrupted"
    trainer.phase = FINISHED
    if interrupted:
        console.event(STOPPING if trainer.saves_last else "stopping")
    else:
        trainer.ingest.finish(ending.reason)
        until_s = time.monotonic() + FAREWELL_S
        while time.monotonic() < until_s and any(s.connected for s in trainer.ingest.spools()):
            trainer.drain()
            time.sleep(0.02)
    server.stop(0.2)
    trainer.ingest.close(1.0)
    while trainer.drain():
        pass
    if trainer.prepared:
        trainer.progress.report(trainer, force=True)
    saved = True
    try:
        with out_of_memory_explained(trainer.config, trainer.folder.path):
            if trainer.moved:
                trainer.save()
    except ConfigError as error:
        console.event(f"the last checkpoint was not taken: {error}")
        saved = False
    try:
        trainer.writer.close()
    except CheckpointError as error:
        console.event(str(error))
        saved = False
    try:
        if trainer.prepared:
            write_durably(
                trainer.folder.path / "training.json", (json.dumps(summary(trainer, ending), indent=2) + "\n").encode()
            )
    except OSError as error:
        console.event(f"training.json was not written: {error}")
        saved = False
    trainer.reporter.close(TRACKER_INTERRUPTED_S if interrupted else TRACKER_S)
    console.close()
    done = f": {trainer.metrics.env_steps} environment steps, {trainer.algorithm.updates} updates"
    console.event(f"{ending.reason}{done if trainer.prepared else ''}")
    if watched := describe_tracker(trainer.folder.path):
        console.event(watched)
    if interrupted:
        kept = "Everything is saved. " if saved and not trainer.diverged else ""
        if not trainer.prepared:
            kept = "The cloning will be made anew. " if trainer.cloning else "Nothing was changed. "
        console.event(f"{kept}Go on with: {resume_command(trainer.folder.path)}")
    if trainer.diverged and not interrupted:
        console.event(trainer.diverged)
        return 1
    return ending.exit_code if saved else 1


def summary(trainer: Trainer, ending: Ending) -> dict[str, Any]:
    """What training came to, for training.json: read by the demo and by `make results`."""
    best = trainer.schedule.best
    return {
        "run_id": trainer.folder.run_id,
        "outcome": ending.outcome,
        "reason": ending.reason,
        "diverged": trainer.diverged,
        "train_wall_s": trainer.elapsed_s,
        "first_update_unix_s": trainer.first_update_s,
        "env_steps": trainer.metrics.env_steps,
        "episodes": trainer.metrics.episodes,
        "updates": trainer.algorithm.updates,
        "dropped_updates": trainer.limiter.dropped,
        "intervention_rate": trainer.metrics.intervention_rate,
        "operator_cycle_steps": trainer.metrics.operator_cycle_steps,
        "best": None if best is None else {**plain(best), "success_rate": best.success_rate},
        "evaluations": [{**plain(r), "success_rate": r.success_rate} for r in trainer.schedule.results],
    }
