"""From a run folder to a trainer that is ready: replay rebuilt, checkpoint loaded or policy started, version 0 out."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from episodes.log import EpisodeLog
from learner.checkpoint import Checkpoint, CheckpointError, load_checkpoint, newest_checkpoint, pointed
from learner.config import ConfigError
from learner.divergence import NOT_FINITE, lower_rates, odd_tensors
from learner.prefetch import batch_source
from learner.progress import write
from learner.resume import restore
from learner.status import status_message
from learner.training import CLONING, WAITING, Trainer
from metrics import names
from transport import records_pb2 as pb

if TYPE_CHECKING:
    from policies.spec import PolicySpec

_SEEN = ("inputs", "stacks", "sizes", "images", "image_", "action_size")
_PROGRESS_EVERY_S = 1.0
NEEDED = {
    "run_id",
    "log_offset",
    "algorithm",
    "replay_rng",
    "limiter",
    "evaluation",
    "elapsed_s",
    "env_steps",
    "updates",
}
"""Of the state of every checkpoint."""


class StartInterruptedError(Exception):
    """The user stopped the learner before it was ready."""


def prepare(trainer: Trainer, log: EpisodeLog) -> None:
    """Brings ``trainer`` to where its loop may run, and publishes the policy it starts from.

    Raises CheckpointError or SnapshotError where something that should be loaded cannot be, StartInterruptedError when
    ``trainer.stop`` was set meanwhile.
    """
    checkpoint = _newest(trainer)
    end = trainer.ingest.drained_offset
    entries = _with_progress(trainer, _until(trainer, log, end), end)
    if checkpoint is not None:
        offset = checkpoint.state["log_offset"]
        if offset > end:
            raise CheckpointError(
                f"the checkpoint {checkpoint.name} needs the log up to offset {offset}, and the log in {log.folder} "
                f"ends at {end}: it was cut or replaced. Restore it, or delete the checkpoint"
            )
        for after, entry in entries:
            if after > offset:
                restore(trainer, checkpoint)
                for _, new in chain([(after, entry)], entries):
                    trainer.take(new)
                break
            trainer.apply(entry)
        else:
            restore(trainer, checkpoint)
        trainer.log_offset = end
    else:
        for _, entry in entries:
            trainer.take(entry)
        trainer.log_offset = end
        _start_policy(trainer)
        trainer.save()
        trainer.writer.flush(10.0)
    trainer.prepared = True
    _print_replay(trainer)
    version = trainer.publish()
    if version == 0:
        payload = trainer.publisher.newer("", 0, 0)
        assert payload is not None
        try:
            trainer.folder.policy_file(0).write_bytes(payload.payload)
        except OSError as error:
            trainer.console.event(f"policy version 0 was not written, the run goes on without its file: {error}")


def policy_bytes(path: Path) -> bytes:
    """The policy in ``path``: a policy file, a checkpoint, or a run folder, whose best or else last one is taken.

    Raises CheckpointError naming what was looked for.
    """
    if path.is_file():
        return path.read_bytes()
    places = [path]
    for folder in (path, path / "checkpoints"):
        places += [found for found in (pointed(folder, "best"), pointed(folder, "last")) if found is not None]
    for place in places:
        if (place / "policy.safetensors").is_file():
            return (place / "policy.safetensors").read_bytes()
    raise CheckpointError(
        f"policy.pretrained={path} is neither a policy file nor a checkpoint (no policy.safetensors in it). "
        "Name a folder like RUN/checkpoints/00001500-2800"
    )


def check_pretrained(path: str, spec: PolicySpec) -> None:
    """Raises SnapshotError or CheckpointError, naming ``policy.pretrained``, where it is no policy of this spec."""
    from policies.snapshot import SnapshotError, read_snapshot
    from policies.spec import spec_differences

    try:
        found = spec_differences(spec, read_snapshot(policy_bytes(Path(path))).spec)
    except SnapshotError as error:
        raise SnapshotError(f"policy.pretrained={path} cannot be used: {error}") from error
    # Where it sees or does something else, or another algorithm made it, the sizes of its layers are beside the point.
    found = [line for line in found if line.startswith((*_SEEN, "kind"))] or found
    if found:
        raise SnapshotError(
            f"policy.pretrained={path} is another policy than this run's:\n" + "\n".join(f"  {d}" for d in found) + "\n"
            "Start with the settings it was trained with (config.yaml of its run: env.obs, env.cameras, sizes, stacks, "
            "algorithm (sac makes a gaussian policy, drqv2 a deterministic one), algorithm.encoder, "
            "algorithm.encoder_size, algorithm.hidden)"
        )


def _newest(trainer: Trainer) -> Checkpoint | None:
    path = newest_checkpoint(trainer.folder.checkpoints)
    if path is None:
        return None
    checkpoint = load_checkpoint(path)
    if lacks := sorted(NEEDED - checkpoint.state.keys()):
        raise CheckpointError(f"the checkpoint {path} is damaged: its state lacks {', '.join(lacks)}. Delete it")
    if checkpoint.state["run_id"] != trainer.folder.run_id:
        raise CheckpointError(
            f"the checkpoint {path} is of another run: expected run_id {trainer.folder.run_id!r}, "
            f"got {checkpoint.state['run_id']!r}. Move it away"
        )
    steps, updates = checkpoint.state["env_steps"], checkpoint.state["updates"]
    trainer.console.event(f"resuming from {path.name}: {steps} environment steps, {updates} updates")
    return checkpoint


def _until(trainer: Trainer, log: EpisodeLog, end: int) -> Iterator[tuple[int, pb.LogEntry]]:
    """Entries up to offset ``end``; what comes after it comes through the ingest."""
    for offset, entry in log.read():
        if offset > end:
            return
        trainer.ingest.note_earlier(entry)
        yield offset, entry


def _with_progress(
    trainer: Trainer, entries: Iterator[tuple[int, pb.LogEntry]], end: int
) -> Iterator[tuple[int, pb.LogEntry]]:
    said_s = time.monotonic()
    for offset, entry in entries:
        yield offset, entry
        if trainer.stop:
            raise StartInterruptedError
        if time.monotonic() - said_s > _PROGRESS_EVERY_S:
            said_s = time.monotonic()
            trainer.console.event(f"rebuilding replay from the log: {offset / end:.0%} of {end / 1e6:.0f} MB")


def _start_policy(trainer: Trainer) -> None:
    """A given policy, or one cloned from what people did, or the initialised one."""
    config, algorithm, replay = trainer.config, trainer.algorithm, trainer.replay
    if config.policy.pretrained:
        from policies.snapshot import read_snapshot

        algorithm.load_policy(read_snapshot(policy_bytes(Path(config.policy.pretrained))))
        trainer.console.event(f"the policy starts from {config.policy.pretrained}")
        return
    if not replay.demonstration_size:
        return
    algorithm.freeze_statistics(replay.statistics())
    updates = config.algorithm.clone_updates
    if not updates:
        return
    trainer.phase = CLONING
    started_s = time.monotonic()
    with contextlib.closing(batch_source(config, algorithm, replay, demonstrations=True)) as batches:
        for done in range(updates):
            trainer.cloning = {names.CLONING_UPDATES: done, names.CLONING_UPDATES_DUE: updates}
            if trainer.console.due():
                trainer.console.update(status_message(trainer))
            trainer.means.add(algorithm.clone(batches.next()))
            if trainer.first_update_s is None:
                trainer.first_update_s = time.time()
            if trainer.stop:
                raise StartInterruptedError
    losses = trainer.means.take()
    if odd := [name for name, value in losses.items() if not math.isfinite(value)]:
        tensors, images = odd_tensors(algorithm), bool(algorithm.spec.images)
        raise ConfigError(
            f"cloning {replay.demonstration_size} transitions diverged within {updates} updates: {NOT_FINITE} "
            f"({', '.join(odd)}{tensors and f'; {tensors}'}). No policy is published and nothing of it is kept. Look "
            "at the demonstrations for absurd numbers, or go on with lower learning rates: "
            f"{lower_rates(trainer.folder.path, config.algorithm, images=images)}"
        )
    write(trainer, losses)
    trainer.phase, trainer.cloning = WAITING, {}
    trainer.console.event(
        f"cloned the policy from {replay.demonstration_size} transitions: {updates} updates in "
        f"{time.monotonic() - started_s:.1f} s"
    )


def _print_replay(trainer: Trainer) -> None:
    replay = trainer.replay
    hours = f", {replay.capacity_hours:.1f} hours of robot time" if replay.capacity_hours != float("inf") else ""
    trainer.console.event(
        f"replay: room for {replay.capacity_rows} rows ({trainer.folder.replay_bytes / 1e9:.2f} GB{hours}); "
        f"{replay.online_size} online transitions, {replay.demonstration_size} from people"
    )
