"""Where a figure of docs/ comes from: the machine, the commit and the day."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "lerobot", "numpy", "grpcio")


def origin() -> dict[str, str]:
    """When, on which code and on what a row is measured; ``+`` after a commit for changes that are not in it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs", ":!README.md")
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else ""),
        "machine": f"{machine()}; {versions()}",
    }


def numbered(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The machines of rows, each with the mark that its rows bear; none is needed where there is only one."""
    machines = dict.fromkeys(row["machine"] for row in rows if row.get("machine"))
    return {where: f"[{i}]" if len(machines) > 1 else "" for i, where in enumerate(machines, 1)}


def committed(commit: str, places: Sequence[Path] = (ROOT,)) -> int:
    """When a row's commit was made [s], by the first of these folders' repositories that has it; 0 where none has."""
    last = commit.split()[-1].rstrip("+")
    for place in places:
        words = ["git", "log", "-1", "--format=%ct", last, "--"]
        found = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False).stdout.strip()
        if found:
            return int(found)
    return 0


def machine() -> str:
    """What this runs on: processor, and the cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        models = []
    return (
        f"{cores} of {os.cpu_count()} CPU cores, {models[0] if models else platform.processor() or platform.machine()}"
    )


def versions() -> str:
    def one(name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return f"{name} not installed"

    return ", ".join([f"Python {sys.version.split()[0]}", *map(one, PACKAGES)])
