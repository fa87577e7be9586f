"""Checkpoints: everything a resumed run needs, written atomically, loaded completely or refused.

checkpoints/00001500-2800/       environment steps and updates (-1, -2, ... where neither moved since the last)
    state.safetensors            every tensor of the algorithm
    state.json                   counters, random numbers, the log offset applied, sha256 of the other two
    policy.safetensors           the moving average of the policy (``policies.snapshot``), for evaluation and export
checkpoints/last.json            name of the newest
checkpoints/best.json            name of the best, and what its evaluation found
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from episodes.durable import sync_folder, write_durably

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "tandem.checkpoint.v1"
_NAME = re.compile(r"(\d{8,})-(\d+)(?:-(\d+))?").fullmatch
_FILES = ("state.safetensors", "policy.safetensors")


class CheckpointError(ValueError):
    """A checkpoint that is damaged, incomplete or of another run."""


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint.

    Attributes:
        name: Of its folder.
        tensors: The algorithm's, by name.
        state: JSON values.
        policy: The moving average of the policy as a snapshot.
    """

    name: str
    tensors: dict[str, Tensor]
    state: dict[str, Any]
    policy: bytes


def checkpoint_name(env_steps: int, updates: int, last: str = "") -> str:
    """The name of a checkpoint taken now; ``last`` is that of the one before it, which is never written over."""
    name = f"{env_steps:08d}-{updates}"
    if last != name and not last.startswith(f"{name}-"):
        return name
    return f"{name}-{_order(last)[2] + 1}"


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes ``checkpoint`` into ``folder``, all of it or nothing, and points last.json at it."""
    from safetensors.torch import save

    final = folder / checkpoint.name
    if not final.exists():
        files = {"state.safetensors": save(checkpoint.tensors), "policy.safetensors": checkpoint.policy}
        header = {
            "format": FORMAT,
            "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
            "state": checkpoint.state,
        }
        temporary = folder / f".{checkpoint.name}.{os.getpid()}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            for name, data in files.items():
                _write(temporary / name, data)
            _write(temporary / "state.json", json.dumps(header).encode())
            sync_folder(temporary)
            temporary.rename(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)  # a full disk must not become fuller with each attempt
            raise
        sync_folder(folder)
    write_durably(folder / "last.json", json.dumps({"checkpoint": checkpoint.name}).encode())


def load_checkpoint(path: Path) -> Checkpoint:
    """Loads a checkpoint's folder. Raises CheckpointError naming the file at fault and what to do."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    advice = f"Delete {path} to go on from the checkpoint before it"
    try:
        header = json.loads((path / "state.json").read_text())
        files = {name: (path / name).read_bytes() for name in _FILES}
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"the checkpoint {path} is incomplete: {error}. {advice}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        got = header.get("format") if isinstance(header, dict) else type(header).__name__
        raise CheckpointError(f"{path} must be a checkpoint of format {FORMAT!r}. Got: {got!r}")
    state, sums = header.get("state"), header.get("sha256")
    if not isinstance(sums, dict) or not isinstance(state, dict):
        raise CheckpointError(f"the checkpoint {path} is damaged: state.json. {advice}")
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != sums.get(name):
            raise CheckpointError(f"the checkpoint {path} is damaged: {name} does not match its sha256. {advice}")
    try:
        tensors = load(files["state.safetensors"])
    except SafetensorError as error:
        raise CheckpointError(f"the checkpoint {path} is damaged: {error}. {advice}") from error
    return Checkpoint(path.name, tensors, state, files["policy.safetensors"])


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in ``folder``, or None. What a crash left unfinished does not count."""
    names = [p for p in folder.iterdir() if _NAME(p.name)] if folder.is_dir() else []
    return max(names, key=lambda p: _order(p.name), default=None)


def save_best(folder: Path, name: str, result: Mapping[str, Any]) -> None:
    """Points best.json at the checkpoint ``name``, with what its evaluation found."""
    write_durably(folder / "best.json", (json.dumps({"checkpoint": name, **result}, indent=2) + "\n").encode())


def load_best(folder: Path) -> dict[str, Any] | None:
    """What ``save_best`` wrote; None where there is nothing or the checkpoint it names is gone."""
    path = pointed(folder, "best")
    return json.loads((folder / "best.json").read_text()) if path is not None and path.is_dir() else None


def pointed(folder: Path, pointer: str) -> Path | None:
    """The checkpoint that ``best`` or ``last`` points to, or None where there is none."""
    try:
        return folder / json.loads((folder / f"{pointer}.json").read_text())["checkpoint"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{folder / pointer}.json cannot be read: {error}") from error


def retain(folder: Path, keep: int, protect: Iterable[str]) -> None:
    """Deletes all but the ``keep`` newest checkpoints and those named in ``protect``."""
    names = sorted((p.name for p in folder.iterdir() if _NAME(p.name)), key=_order)
    for name in set(names[:-keep]) - set(protect):
        # Renamed first, so that no half-deleted checkpoint is ever taken for one.
        doomed = folder / f".{name}.old"
        (folder / name).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


class CheckpointWriter:
    """Writes checkpoints on a thread of its own, so that the update loop pauses only to copy its state.

    What a crash left half written or half deleted in ``folder`` is deleted first: nobody else may write there.

    Args:
        folder: Of the checkpoints.
        keep: Newest checkpoints kept.
        protected: Names that retention leaves alone, asked when it deletes.
    """

    def __init__(self, folder: Path, keep: int, protected: Callable[[], Iterable[str]]):
        for left in (*folder.glob(".*.tmp"), *folder.glob(".*.old")):
            shutil.rmtree(left, ignore_errors=True)
        self._folder = folder
        self._keep = keep
        self._protected = protected
        self._work = threading.Condition()
        self._waiting: list[Checkpoint] = []
        self._busy = False
        self._closing = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="checkpoint-writer", daemon=True)
        self._thread.start()

    def submit(self, checkpoint: Checkpoint) -> None:
        """Queues a checkpoint."""
        with self._work:
            self._waiting.append(checkpoint)
            self._work.notify_all()

    @property
    def busy(self) -> bool:
        """Whether something submitted is not on the disk yet."""
        return self._busy or bool(self._waiting)

    @property
    def fault(self) -> str:
        """Why the newest checkpoint could not be written, e.g. a full disk; empty where it was."""
        return f"a checkpoint could not be written to {self._folder}: {self._failure}" if self._failure else ""

    def flush(self, timeout_s: float | None = None) -> None:
        """Returns when all that was submitted is on the disk. Raises CheckpointError when the newest is not."""
        with self._work:
            done = self._work.wait_for(lambda: not self.busy, timeout_s)
        if not done:
            raise CheckpointError(f"no checkpoint could be written to {self._folder} within {timeout_s:g} s")
        if self._failure is not None:
            raise CheckpointError(self.fault) from self._failure

    def close(self, timeout_s: float = 10.0) -> None:
        """Writes what is left and stops the thread. Raises CheckpointError like ``flush``."""
        try:
            self.flush(timeout_s)
        finally:
            with self._work:
                self._closing = True
                self._work.notify_all()
            self._thread.join(1.0)

    def _run(self) -> None:
        while True:
            with self._work:
                self._work.wait_for(lambda: bool(self._waiting) or self._closing)
                if not self._waiting:
                    return
                checkpoint = self._waiting.pop(0)
                self._busy = True
            failure: Exception | None = None
            try:
                save_checkpoint(self._folder, checkpoint)
                retain(self._folder, self._keep, self._protected())
            except Exception as error:
                failure = error
            with self._work:
                self._busy = False
                self._failure = failure
                self._work.notify_all()


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _order(name: str) -> tuple[int, int, int]:
    match = _NAME(name)
    assert match is not None, name
    return int(match[1]), int(match[2]), int(match[3] or 0)
