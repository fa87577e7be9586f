"""The command that goes on with a run, for the messages that name it."""

from __future__ import annotations

import shlex
from pathlib import Path

DEMO_SETTINGS = "demo.json"
"""File of a run folder that is a demo's: what the demo was started with."""


def resume_command(folder: Path, *changes: str) -> str:
    """``tandem demo run=FOLDER`` where the run is a demo's, else ``tandem learner run=FOLDER``; then ``changes``."""
    verb = "demo" if (folder / DEMO_SETTINGS).exists() else "learner"
    return " ".join((f"tandem {verb} run={shlex.quote(str(folder))}", *changes))
