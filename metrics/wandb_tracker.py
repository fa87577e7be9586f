"""Metrics to Weights & Biases: online when logged in, else into the run folder for ``wandb sync``."""

from __future__ import annotations

import netrc
import os
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metrics.names import ENV_STEPS, METRICS, UPDATES
from metrics.tracker import write_description

CONNECT_TIMEOUT_S = 20.0
LEARNING_METRICS = (
    "critic_loss",
    "actor_loss",
    "cloning_loss",
    "temperature",
    "entropy",
    "gripper_loss",
    "exploration_std",
    "q_mean",
    "updates_per_s",
    "demo_share",
)


class WandbTracker:
    """A wandb run in RUN_FOLDER/wandb. Environment metrics have the x axis env_steps, update metrics updates.

    The run's id is ``run_id``: a resumed run continues online; offline it becomes a second folder of the same id,
    which ``wandb sync`` joins to the first. Where the server cannot be reached the run is an offline one.
    """

    fault = ""

    def __init__(self, run_folder: Path, *, run_id: str, name: str, config: Mapping[str, Any], project: str) -> None:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
        settings = wandb.Settings(
            console="off",
            silent=True,
            init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT", CONNECT_TIMEOUT_S)),
            disable_git=True,
            disable_code=True,
            x_stats_sampling_interval=30.0,
        )
        arguments: dict[str, Any] = {
            "project": os.environ.get("WANDB_PROJECT", project),
            "id": run_id,
            "name": name,
            "dir": str(run_folder),
            "config": dict(config),
            "settings": settings,
        }
        note = ""
        try:
            self._run = wandb.init(**arguments, mode=mode, resume="allow" if mode == "online" else None)
        except wandb.errors.Error as error:
            if mode != "online":
                raise
            note = f" (wandb could not be reached: {' '.join(str(error).split())[:120]})"
            mode = "offline"
            wandb.teardown()
            self._run = wandb.init(**arguments, mode="offline")
        self._run.define_metric(ENV_STEPS)
        self._run.define_metric(UPDATES)
        for metric in METRICS:
            if metric.name not in (ENV_STEPS, UPDATES):
                axis = UPDATES if metric.name in LEARNING_METRICS else ENV_STEPS
                self._run.define_metric(metric.name, step_metric=axis)
        if mode == "online" and self._run.url:
            text = f"wandb: {self._run.url}"
        else:
            text = f"wandb, offline{note}: wandb sync {_offline_folders(run_folder, run_id)}"
        write_description(run_folder, {"kind": "wandb", "mode": mode, "text": text})

    def log(self, metrics: Mapping[str, float], env_steps: int, updates: int) -> None:
        self._run.log({**metrics, ENV_STEPS: env_steps, UPDATES: updates})

    def finish(self, timeout_s: float = 30.0) -> None:
        self._run.finish()


def _offline_folders(run_folder: Path, run_id: str) -> str:
    """The folders of a run, one for each time it was started; as a shell pattern where there are several."""
    pattern = f"offline-run-*-{run_id}"
    folders = list((run_folder / "wandb").glob(pattern))
    return str(folders[0] if len(folders) == 1 else run_folder / "wandb" / pattern)


def logged_in() -> bool:
    """Whether wandb has a key for its server, in the environment or in the netrc file, where `wandb login` puts it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urllib.parse.urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    for path in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        if path and (file := Path(path).expanduser()).is_file():
            try:
                return netrc.netrc(str(file)).authenticators(host) is not None
            except (OSError, netrc.NetrcParseError):
                return False
    return False
