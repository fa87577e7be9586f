"""The command that goes on with a run, for the messages that name it."""

from __future__ import annotations

import shlex
from pathlib import Path

DEMO_SETTINGS = "demo.json"
"""File of a run folder that is a demo's: what the demo was started with."""
SUMMARY = "summary.json"
"""File of a demo that has ended: what came of it."""


def resume_command(folder: Path, *changes: str) -> str:
    """``tandem demo run=FOLDER`` where the run is a demo's that has not ended, else ``tandem learner run=FOLDER``; then
    ``changes``."""
    demo = (folder / DEMO_SETTINGS).exists() and not (folder / SUMMARY).exists()
    verb = "demo" if demo else "learner"
    return " ".join((f"tandem {verb} run={shlex.quote(str(folder))}", *changes))
