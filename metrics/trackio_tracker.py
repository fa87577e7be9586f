"""Metrics to trackio, with a live page on this machine and no account (extra: ``trackio``)."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metrics.names import ENV_STEPS, UPDATES
from metrics.tracker import write_description


class TrackioTracker:
    """A trackio run, and its page served on loopback by a process that ends with this one.

    Raises ImportError saying how to install the extra.
    """

    fault = ""

    def __init__(self, run_folder: Path, *, run_id: str, name: str, config: Mapping[str, Any], project: str) -> None:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                import trackio
        except ImportError as error:
            raise ImportError("trackio is not installed: .venv/bin/uv pip install 'tandem-rl[trackio]'") from error
        with contextlib.redirect_stdout(io.StringIO()):
            self._run = trackio.init(
                project=project,
                name=f"{name}-{run_id[:8]}",
                config=dict(config),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self._folder = run_folder
        self._page = subprocess.Popen(
            [sys.executable, "-P", "-m", "metrics.trackio_page", project],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.PIPE,
            text=True,
            env={**os.environ, "BROWSER": "true", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._find_page, name="trackio-page", daemon=True)
        self._reader.start()
        text = f"trackio: trackio show --project {project}"
        write_description(run_folder, {"kind": "trackio", "mode": "local", "text": text})

    def log(self, metrics: Mapping[str, float], env_steps: int, updates: int) -> None:
        self._run.log({**metrics, ENV_STEPS: env_steps, UPDATES: updates}, step=env_steps)

    def finish(self, timeout_s: float = 30.0) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self._run.finish()
        self._page.terminate()
        try:
            self._page.wait(5)
        except subprocess.TimeoutExpired:
            self._page.kill()
        self._reader.join(5)
        with self._page:
            pass

    def _find_page(self) -> None:
        assert self._page.stdout is not None
        for line in self._page.stdout:
            if found := re.search(r"http://[^\s\x1b]+", line):
                text = f"trackio: {found.group(0)}"
                write_description(self._folder, {"kind": "trackio", "mode": "local", "text": text})
                print(f"tracker: {text}", file=sys.stderr, flush=True)
                break
        for _ in self._page.stdout:
            pass
