"""Metrics of a run: from the log and from updates, to metrics.jsonl, the tracker and the status."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from metrics import names
from metrics.tracker import Tracker

if TYPE_CHECKING:
    from torch import Tensor

_RENAMED = {"clone_loss": names.CLONING_LOSS}


class UpdateMeans:
    """Means of the 0-d tensors that updates return; the device is read only when a report is due."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            if name in self._sums:
                self._sums[name] += value
                self._counts[name] += 1
            else:
                self._sums[name] = value.clone()
                self._counts[name] = 1

    def take(self) -> dict[str, float]:
        """Means since the last call, by the names of ``metrics.names``; others are left out."""
        if not self._sums:
            return {}
        import torch

        keys = list(self._sums)
        sums = torch.stack([self._sums[key].reshape(()) for key in keys]).tolist()
        means = {_RENAMED.get(k, k): total / self._counts[k] for k, total in zip(keys, sums, strict=True)}
        self._sums.clear()
        self._counts.clear()
        return {name: value for name, value in means.items() if name in names.BY_NAME}


class Reporter:
    """Writes lines of metrics; remembers the newest value of each.

    Attributes:
        newest: Newest value of every metric; of one that is no longer finite, none.
        fault: Why the last line could not be written, e.g. a full disk; empty where it was.
    """

    def __init__(self, path: Path, tracker: Tracker):
        """``path`` is metrics.jsonl; a torn last line of an earlier process is closed."""
        self.newest: dict[str, float] = {}
        self.fault = ""
        self._path = path
        self._tracker = tracker
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115
        size = self._file.seek(0, 2)
        if size:
            self._file.seek(size - 1)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def write(self, values: Mapping[str, float], *, time_s: float, env_steps: int, updates: int) -> None:
        """One line. Numbers that are not finite are left out, so that the file stays JSON."""
        kept = {key: float(value) for key, value in values.items() if math.isfinite(value)}
        self.newest = {key: value for key, value in self.newest.items() if key not in values} | kept
        axes = {names.TIME_S: round(time_s, 3), names.ENV_STEPS: env_steps, names.UPDATES: updates}
        rounded = {key: float(f"{value:.7g}") for key, value in kept.items() if key not in axes}
        self._append(json.dumps({**axes, **rounded}).encode() + b"\n")
        self._tracker.log({names.TIME_S: time_s, **rounded}, env_steps, updates)

    def _append(self, line: bytes) -> None:
        """Appends the whole line or nothing: where it cannot be, the run goes on without it."""
        end = self._file.seek(0, 2)
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            self.fault = ""
        except OSError as error:
            self.fault = f"metrics are not written to {self._path}: {error}"
            with contextlib.suppress(OSError):
                self._file.truncate(end)

    @property
    def tracker_fault(self) -> str:
        """Why the tracker takes no more metrics, which it has said itself; empty while it does."""
        return self._tracker.fault

    def close(self, timeout_s: float) -> None:
        """Finishes the tracker, waiting ``timeout_s`` at most."""
        self._tracker.finish(timeout_s)
        self._file.close()
