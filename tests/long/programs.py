"""The programs a user starts, as they are."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
from pathlib import Path


def tandem(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", *arguments]


def documented_demo(text: str) -> tuple[str, ...]:
    """The settings of the one `tandem demo` among the commands of a document."""
    (command,) = (part for part in text.replace("\\\n", " ").splitlines() if part.startswith("tandem demo "))
    return tuple(shlex.split(command)[2:])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def returns_of_a_trained_policy(folder: Path, *settings: str) -> list[float]:
    """Trains with one actor until a cap ends it, and evaluates the last policy on 20 starts."""
    run, token = folder / "run", f"learner.token_path={folder / 'token'}"
    address = f"learner.address=127.0.0.1:{free_port()}"
    fixed = ["evaluation.every_env_steps=0", "tracker=none", f"run={run}"]
    learner = subprocess.Popen(tandem("learner", "env=gym", *settings, *fixed, address, token))
    actor = subprocess.Popen(tandem("actor", address, token, f"actor.spool={folder / 'spool'}"))
    try:
        assert learner.wait(1500) == 0
        assert actor.wait(60) == 0
    finally:
        learner.kill()
        actor.kill()
    out = folder / "evaluation.json"
    subprocess.run(tandem("eval", f"run={run}", "policy=last", "episodes=20", f"out={out}"), check=True, timeout=300)
    returns = json.loads(out.read_text())["returns"]
    assert len(returns) == 20
    return returns


def demo(run: Path, *settings: str, timeout_s: float, codes: tuple[int, ...] = (0,)) -> tuple[dict, str]:
    """The summary of a demo that ends with one of ``codes``, and what it printed."""
    done = subprocess.run(
        tandem("demo", "seed=4", f"run={run}", *settings), capture_output=True, text=True, timeout=timeout_s
    )
    assert done.returncode in codes, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((run / "summary.json").read_text()), done.stdout


def success_of_the_first_policy(run: Path) -> float:
    """Success of the policy that updates began with, on the starts that the demo in ``run`` was judged by."""
    out = run / "evaluation-first.json"
    subprocess.run(tandem("eval", f"run={run}", "policy=first", "episodes=50", f"out={out}"), check=True, timeout=900)
    final = json.loads((run / "evaluation-final.json").read_text())
    first = json.loads(out.read_text())
    assert first["start_seeds"] == final["start_seeds"]
    return first["success_rate"]
