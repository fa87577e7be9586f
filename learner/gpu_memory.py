"""What to do where the GPU's memory does not suffice, said in one place."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from learner.config import ConfigError, LearnerConfig
from learner.resuming import resume_command

# torch.OutOfMemoryError, what CUDA itself and MPS say, and what cuBLAS and cuDNN say of their own workspaces.
_SAID = re.compile(r"out of memory|_ALLOC_FAILED")


@contextlib.contextmanager
def out_of_memory_explained(config: LearnerConfig, run: Path) -> Iterator[None]:
    """Raises ConfigError, with what to lower and how to go on, in place of torch's error of a full GPU.

    What an update that was cut short left behind is not saved: the run resumes from the log and the last checkpoint.
    """
    try:
        yield
    except RuntimeError as error:
        advice = what_to_lower(error, config)
        if not advice:
            raise
        fewer = max(1, config.algorithm.batch_size // 2)
        used = getattr(config.algorithm, "encoder", "")
        encoder = f"a smaller algorithm.encoder than {used}, " if used and used != "small" else ""
        raise ConfigError(
            f"{advice}. Nothing of the log or of the last checkpoint is lost: "
            f"`{resume_command(run, f'algorithm.batch_size={fewer}')}` goes on from there. "
            f"Where that is not enough, {encoder}fewer env.cameras or a smaller env.image_resize need a new run"
        ) from error


def what_to_lower(error: BaseException, config: LearnerConfig) -> str:
    """What a resumed run may change so that a full GPU suffices; empty where ``error`` says nothing of one."""
    text = str(error)
    if not isinstance(error, RuntimeError) or not _SAID.search(text):
        return ""
    wanted = re.search(r"[Tt]ried to allocate [\d.]+ \w+", text)
    host = ", or keep the images of replay in main memory with replay.device=host" * (config.replay.device != "host")
    return (
        f"the GPU ran out of memory{f' ({wanted[0]})' if wanted else ''}: lower algorithm.batch_size "
        f"(now {config.algorithm.batch_size}){host}"
    )
