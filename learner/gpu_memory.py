"""What to do where the GPU's memory does not suffice, said in one place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from learner.config import ConfigError, LearnerConfig


@contextlib.contextmanager
def out_of_memory_explained(config: LearnerConfig, folder: Path) -> Iterator[None]:
    """Raises ConfigError, with what to lower and how to go on, in place of torch's error of a full GPU.

    What an update that was cut short left behind is not saved: the run resumes from the log and the last checkpoint.
    """
    try:
        yield
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's; a learner without a GPU need not import it for this
            raise
        why = str(error).split(". ")[0]
        kept = config.replay.device != "host"
        replay = "keep the images of replay in main memory with replay.device=host, " if kept else ""
        size = config.algorithm.batch_size
        used = getattr(config.algorithm, "encoder", "")
        encoder = f"use a smaller algorithm.encoder than {used}, " if used and used != "small" else ""
        raise ConfigError(
            f"the GPU ran out of memory: {why}. Lower algorithm.batch_size (now {size}), {replay}"
            f"{encoder}or have smaller images with env.image_resize. Every step is in the log and nothing of the last "
            f"checkpoint is lost: the same command with run={folder} goes on from there; other image sizes need "
            "a new run"
        ) from error
