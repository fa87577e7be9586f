"""Recording, learner and actor of a demo: programs of their own, from the first demonstration to the end."""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.children import Child, stop_all
from cli.connection import Connection
from cli.demonstrations import finished, set_others_aside, unfinished
from cli.errors import CAP_REACHED, ERROR, OK, USAGE, CommandError
from cli.leaving import interrupted_by_signals
from cli.progress import Progress
from learner.resuming import resume_command

FIRST_UPDATE = "first_update.json"
POLL_S = 0.25
ACTOR_ENDS_S = 15.0
LEARNER_ENDS_S = 60.0


@dataclass(frozen=True)
class TrainingResult:
    """How training ended.

    Attributes:
        stopped_by_itself: The policy succeeds on its own by the learner's rule; False where a cap came first.
        reason: In words, by the learner.
        first_update_s: From the start of the command to the first gradient step; None where it was not seen.
    """

    stopped_by_itself: bool
    reason: str
    first_update_s: float | None


class TrainingSession:
    """Starts the programs, shows progress, and stops them whatever happens.

    Args:
        folder: Run folder, made if absent.
        title: First line of the progress.
        demonstrations: How many to record first, where the folder has none.
        recording: Arguments of `tandem record`, besides out, episodes and operator.
        learning: Arguments of `tandem learner`, besides run, demos, address and token.
        operator: Of the actor.
        rewarding: Arguments of `tandem record` and `tandem actor`: where the reward comes from.
        started_s: time.monotonic() when the command began.
    """

    def __init__(
        self,
        folder: Path,
        *,
        title: str,
        demonstrations: int,
        recording: Sequence[str],
        learning: Sequence[str],
        operator: str,
        rewarding: Sequence[str] = (),
        started_s: float,
    ) -> None:
        self._folder = folder
        self._title = title
        self._demonstrations = demonstrations
        self._recording = list(recording)
        self._learning = list(learning)
        self._operator = operator
        self._rewarding = list(rewarding)
        self._started_s = started_s
        self._children: list[Child] = []
        self._token = folder / "token"
        self._address = f"127.0.0.1:{free_port()}"
        self._status: Any = None
        self._resume = ""

    def run(self, how_to_resume: str) -> TrainingResult:
        """Raises CommandError with the last lines of a program that died, KeyboardInterrupt after Ctrl-C; every
        program has ended when this returns or raises."""
        from transport.token import load_or_create_token

        self._resume = how_to_resume
        self._folder.mkdir(parents=True, exist_ok=True)
        load_or_create_token(self._token)
        print(f"To look closer, from another terminal: tandem status run={shlex.quote(str(self._folder))}", flush=True)
        try:
            with interrupted_by_signals(), Progress(self._title, self._started_s) as progress:
                demos = finished(self._folder)
                recorder = self._start_recorder(demos)
                actor = self._start(
                    "actor",
                    f"learner.address={self._address}",
                    f"learner.token_path={self._token}",
                    f"operator={self._operator}",
                    f"actor.spool={self._folder / 'spool'}",
                    "actor.name=demo",
                    "actor.status_every_s=1",
                    *self._rewarding,
                )
                learner = self._start(
                    "learner",
                    f"run={self._folder}",
                    f"learner.address={self._address}",
                    f"learner.token_path={self._token}",
                    *([f"demos={demos}"] if self._demonstrations else []),
                    *self._learning,
                    after=demos if self._demonstrations else None,
                )
                if recorder is not None:
                    self._await_recorder(progress, recorder, demos)
                result = self._watch(progress, learner, actor)
                self._await_actor(progress, actor)
                return result
        finally:
            stop_all(self._children)

    def _start(self, name: str, *arguments: str, after: Path | None = None) -> Child:
        child = Child(name, [name, *arguments], self._folder / f"{name}.log", after)
        self._children.append(child)
        return child

    def _start_recorder(self, demos: Path) -> Child | None:
        """None where none are wanted, or all are there."""
        if not self._demonstrations:
            return None
        settings = [*self._recording, *self._rewarding, "operator=scripted"]
        for said in set_others_aside(self._folder, settings):
            print(said, flush=True)
        if demos.exists():
            return None
        return self._start("record", *settings, f"episodes={self._demonstrations}", f"out={unfinished(self._folder)}")

    def _await_recorder(self, progress: Progress, recorder: Child, demos: Path) -> None:
        while recorder.wait(POLL_S) is None:
            for child in self._children:
                self._check(child)
            progress.show(None, "", f"the scripted person records {self._demonstrations} demonstrations")
        if recorder.exit_code != OK:
            raise self._death(recorder)
        unfinished(self._folder).rename(demos)

    def _watch(self, progress: Progress, learner: Child, actor: Child) -> TrainingResult:
        actor_ended_s = 0.0
        first_update_s = self._first_update()
        with Connection(self._address, str(self._token), timeout_s=1.0) as connection:
            while learner.wait(POLL_S) is None:
                self._check(actor)
                if actor.exit_code == OK:
                    actor_ended_s = actor_ended_s or time.monotonic()
                    if time.monotonic() - actor_ended_s > LEARNER_ENDS_S:
                        raise CommandError(f"the actor has ended and the learner has not. {self._resume}")
                with contextlib.suppress(CommandError):
                    self._status = connection.status()
                if self._status is None:
                    progress.show(None, "", "starting learner and actor")
                    continue
                if first_update_s is None and (self._status.updates or self._status.phase == "cloning"):
                    first_update_s = self._save_first_update(time.monotonic() - self._started_s)
                progress.show(self._status, last_doing(actor.log))
        if learner.exit_code not in (OK, CAP_REACHED):
            raise self._death(learner)
        training = json.loads((self._folder / "training.json").read_text())
        return TrainingResult(training["outcome"] == "autonomous", str(training["reason"]), first_update_s)

    def _await_actor(self, progress: Progress, actor: Child) -> None:
        deadline = time.monotonic() + ACTOR_ENDS_S
        while actor.wait(POLL_S) is None and time.monotonic() < deadline:
            progress.show(self._status, "", "the actor delivers what is left")
        self._check(actor)

    def _check(self, child: Child) -> None:
        if child.exit_code not in (None, OK):
            raise self._death(child)

    def _death(self, child: Child) -> CommandError:
        tail, command = child.tail(), resume_command(self._folder)
        said = [f"the {child.name} ended with exit code {child.exit_code}. The last lines of {child.log}:", tail]
        if command not in tail:  # otherwise it says itself how to go on, and with what changed
            refused = self._status is None and child.exit_code in (ERROR, USAGE)
            change = f"Where a setting is at fault, change it: {command} KEY=VALUE. " if refused else ""
            said.append(f"{change}{self._resume}")
        return CommandError("\n".join(said))

    def _first_update(self) -> float | None:
        try:
            return float(json.loads((self._folder / FIRST_UPDATE).read_text())["first_update_s"])
        except FileNotFoundError:
            return None

    def _save_first_update(self, seconds: float) -> float:
        (self._folder / FIRST_UPDATE).write_text(json.dumps({"first_update_s": round(seconds, 2)}) + "\n")
        return seconds


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def last_line(log: Path) -> str:
    """The newest line of a log file; empty when it has none."""
    with open(log, "rb") as file:
        file.seek(max(file.seek(0, 2) - 4096, 0))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines[:-1]) if line.strip()), "")


def last_doing(log: Path) -> str:
    """What the operator does, from the actor's newest status line."""
    line = last_line(log)
    _, found, doing = line.partition(", operator ")
    return doing if found else line.partition("state ")[2].partition(",")[0]
