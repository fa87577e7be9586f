"""What of a run goes into a checkpoint, and how it comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from learner.checkpoint import Checkpoint, CheckpointError, checkpoint_name, load_best
from learner.evaluation import result_from
from metrics import names
from metrics.history import read_history

if TYPE_CHECKING:
    from learner.training import Trainer
    from policies.policy import Policy


def take_checkpoint(trainer: Trainer) -> Checkpoint:
    """The state of a run now, copied. Raises NotFiniteError, rather than keep what training cannot go on from."""
    from policies.snapshot import check_finite

    tensors, algorithm = trainer.algorithm.state()
    check_finite("the algorithm", tensors)
    steps, updates = trainer.metrics.env_steps, trainer.algorithm.updates
    state = {
        "run_id": trainer.folder.run_id,
        "log_offset": trainer.log_offset,
        "algorithm": algorithm,
        "replay_rng": trainer.batches.rng_state(),
        "limiter": trainer.limiter.state(),
        "evaluation": trainer.schedule.state(),
        "elapsed_s": trainer.elapsed_s,
        "env_steps": steps,
        "updates": updates,
    }
    policy = snapshot(trainer, trainer.algorithm.ema_policy, max(trainer.version, 0))
    return Checkpoint(checkpoint_name(steps, updates, trainer.last_checkpoint), tensors, state, policy)


def restore(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Takes the state of a checkpoint; replay and metrics must have been rebuilt up to its offset of the log.

    Raises CheckpointError where the log says otherwise than the checkpoint, or the algorithm cannot take it.
    """
    state = checkpoint.state
    if trainer.metrics.env_steps != state["env_steps"]:
        raise CheckpointError(
            f"the checkpoint {checkpoint.name} was taken at {state['env_steps']} environment steps, and the log says "
            f"{trainer.metrics.env_steps} at its offset {state['log_offset']}: they are not of one run"
        )
    try:
        trainer.algorithm.load_state(checkpoint.tensors, state["algorithm"])
    except ValueError as error:
        raise CheckpointError(
            f"the checkpoint {checkpoint.name} does not fit these settings: {error}. Go back to the settings it was "
            "made with (config.yaml of the run), or name another folder with run=FOLDER"
        ) from error
    trainer.replay.set_rng_state(state["replay_rng"])
    trainer.limiter.load_state(state["limiter"])
    trainer.schedule.load_state(state["evaluation"])
    # The best may have been found after this checkpoint was taken.
    best = load_best(trainer.folder.checkpoints)
    if best is not None:
        trainer.schedule.best = result_from(best)
    # A process that was killed trained on after its last checkpoint.
    written_s = read_history(trainer.folder.metrics).last(names.TIME_S) or 0.0
    trainer.elapsed_before_s = max(state["elapsed_s"], written_s)
    trainer.log_offset = state["log_offset"]
    trainer.last_checkpoint = checkpoint.name
    trainer.progress.finite_updates = state["updates"]


def snapshot(trainer: Trainer, policy: Policy, version: int, dtype: str = "float32") -> bytes:
    """``policy`` as bytes, with where it comes from."""
    from policies.snapshot import save_snapshot

    steps, updates = trainer.metrics.env_steps, trainer.algorithm.updates
    meta = {"run_id": trainer.folder.run_id, "env_steps": steps, "updates": updates}
    return save_snapshot(policy, version, meta, dtype)
