"""A learner, an actor and the cable between them, as the processes a user runs, and what became of every step."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.cable import Cable
from faults.namespaces import ADDRESSES, Wire
from faults.record import Difference, DifferenceError, LogReader, StepKey, difference, recorded_steps, unexplained
from ports import lasting_port

from transport.certificates import issue_actor
from transport.trust import Trust, find_trust

ROOT = Path(__file__).resolve().parents[2]
RECORDED = Path(__file__).parent / "recorded"
PATIENCE_S = 90.0
FINISHES = 5
FULL_LEARNER = (
    *("cli.main", "learner", "env=gym", "env.id=Recorded-v0", "tracker=none", "warmup_steps=50"),
    *("algorithm.hidden=[16,16]", "algorithm.batch_size=16", "algorithm.utd_ratio=0.1", "evaluation.every_env_steps=0"),
    *("learner.publish_every=5", "learner.checkpoint_every_s=1", "learner.device=cpu", "replay.capacity_gb=0.01"),
    *("log.segment_mb=1", "learner.max_ahead=200", "learner.console=false"),
)


def environment(*first: Path) -> dict[str, str]:
    """That of a program which imports what this one does, and ``first`` before it."""
    paths = (*first, ROOT, ROOT / "tests", os.environ.get("PYTHONPATH", ""))
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}


class Tree:
    """Programs of one run that goes on over many faults. Use as a context manager.

    Args:
        folder: Made for it; the run lies in ``folder/run``.
        full: The learner with its updates and an actor whose policy runs on torch, or both without.
        sync: ``log.sync`` of the learner.
        mutual: Whether both sides show certificates; plain text otherwise.
        wire: Between the network namespaces of learner and actor, in place of the cable; None for loopback.
        disk_mb: Size of a disk of its own for the run, which can be filled; 0 for none. Needs root.

    Attributes:
        token: Of the learner.
        cable: Between actor and learner.
        ballast: File that fills the disk; None without a disk of its own.
        controls_killed: Control processes that faults killed since the last ``check_interrupted``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        full: bool = False,
        sync: str = "os",
        mutual: bool = False,
        disk_mb: int = 0,
        wire: Wire | None = None,
    ) -> None:
        self._wire = wire
        self.folder, self.run, self.full, self.sync = folder, folder / "run", full, sync
        self.mutual = mutual
        self.trust: Trust | None = None
        if mutual:
            issue_actor(folder / "tls", "arm", folder / "arm.pem", 30)
            self.trust = find_trust("", "", str(folder / "arm.pem"))
        self.token = secrets.token_urlsafe(16)
        self.ballast = self.run / "ballast" if disk_mb else None
        self.run.mkdir(parents=True)
        if disk_mb:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk_mb}m", "tandem-faults", self.run], check=True)
        self.record = folder / "record.txt"
        self.clock = folder / "clock.txt"
        self.log = LogReader(self.run / "log")
        self.port = lasting_port()
        self.cable = Cable(self.port)
        self.address = f"{ADDRESSES[0] if wire else 'localhost'}:{self.port}"
        self.address_of_actor = self.address if wire else f"localhost:{self.cable.port}"
        self.learner: subprocess.Popen[bytes] | None = None
        self.actor: subprocess.Popen[bytes] | None = None
        self.controls_killed = 0
        self._interrupted = self._ended_by_actor = 0

    def __enter__(self) -> Tree:
        self.start_learner()
        self.start_actor()
        self.await_steps(5)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(*self.pids())
        for process in filter(None, (self.learner, self.actor)):
            process.wait()
        self.cable.close()
        if self.ballast is not None:
            subprocess.run(["umount", "--lazy", self.run], check=True)

    def start_learner(self) -> None:
        if self.full:
            words = [*FULL_LEARNER, f"run={self.run}", f"learner.address={self.address}", f"log.sync={self.sync}"]
            words += ["learner.tls=mutual", f"learner.tls_folder={self.folder / 'tls'}"] if self.mutual else []
        else:
            words = ["faults.light_learner", str(self.run), self.address, self.sync]
            words += [str(self.folder / "tls")] if self.mutual else []
        self.learner = self._start("learner", words, side=0)

    def start_actor(self) -> None:
        self.actor = self.actor_process("actor")

    def actor_process(self, output: str, **settings: Any) -> subprocess.Popen[bytes]:
        """An actor of the same name and spool, unless ``settings`` say otherwise."""
        settings = {
            "learner_address": self.address_of_actor,
            "name": "arm",
            "spool": str(self.folder / "spools"),
            "spool_mb": 8,
            "policy_mb": 4,
            "certificate": str(self.folder / "arm.pem") if self.mutual else "",
        } | settings
        if not self.full:
            return self._start(output, ["faults.light_actor", json.dumps(settings)])
        keys = {"learner_address": "learner.address", "certificate": "learner.certificate", "flush": "flush"}
        return self._start(
            output, ["cli.main", "actor", *(f"{keys.get(k, f'actor.{k}')}={v}" for k, v in settings.items())]
        )

    def _start(self, output: str, words: list[str], side: int = 1) -> subprocess.Popen[bytes]:
        before = self._wire.command(side) if self._wire else ()
        with open(self.folder / f"{output}.txt", "ab") as file:
            return subprocess.Popen(
                [*before, sys.executable, "-P", "-m", *words],
                cwd=ROOT,
                env=environment(RECORDED)
                | {
                    "TANDEM_TOKEN": self.token,
                    "RECORD_PATH": str(self.record),
                    "CLOCK_PATH": str(self.clock),
                    "OMP_NUM_THREADS": "1",
                },
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def control_pid(self) -> int:
        """Of the control process; waits for one that is being started."""
        assert self.actor is not None
        children = Path(f"/proc/{self.actor.pid}/task/{self.actor.pid}/children")
        return int(self.wait(lambda: children.read_text().split(), "a control process")[0])

    def pids(self) -> list[int]:
        """Of all processes that live."""
        found = []
        for process in filter(None, (self.learner, self.actor)):
            if process.poll() is None:
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
                with contextlib.suppress(OSError):
                    found += [int(pid) for pid in children.read_text().split()]
                found.append(process.pid)
        return found

    @staticmethod
    def kill(*pids: int, number: int = signal.SIGKILL) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def restart_dead(self) -> None:
        """Starts again what a user would start again; the control process is its parent's affair."""
        if self.learner is not None and self.learner.poll() is not None:
            self.start_learner()
        if self.actor is not None and self.actor.poll() is not None:
            self.start_actor()

    def wait[T](self, condition: Callable[[], T], what: str, timeout_s: float = PATIENCE_S) -> T:
        """The condition's first true value. Raises DifferenceError, with what the programs said last."""
        give_up = time.monotonic() + timeout_s
        while time.monotonic() < give_up:
            if value := condition():
                return value
            time.sleep(0.02)
        raise DifferenceError(f"waited {timeout_s:g} s in vain for {what}; {self.said()}")

    def said(self) -> str:
        """The last lines of each program."""
        texts = {path.stem: path.read_text(errors="replace").splitlines()[-6:] for path in self.folder.glob("*or.txt")}
        return "; ".join(f"{name}: {' | '.join(lines)}" for name, lines in texts.items())

    @property
    def recorded(self) -> list[StepKey]:
        """Every step that returned."""
        return recorded_steps(self.record)

    @property
    def steps(self) -> int:
        """Whole steps of the actor in the log."""
        with contextlib.suppress(Exception):
            self.log.read()
        return len(self.log.actors["arm"].steps) if "arm" in self.log.actors else 0

    def await_steps(self, more: int) -> None:
        """Returns once the log has ``more`` steps that were executed after the call."""
        executed = {step[:2] for step in self.recorded}

        def arrived() -> bool:
            self.restart_dead()  # an actor whose control process is killed for the fourth time in a minute ends
            wanted = self.steps - more
            flying = executed.intersection(self.log.actors["arm"].interrupted) if wanted >= 0 else ()
            return wanted >= len(executed) - len(flying)

        self.wait(arrived, f"{more} steps more than {len(executed)}")

    def difference(self) -> Difference:
        """Of what was executed and what is in the log, as it was a moment before."""
        assert self.steps, self.said()
        return difference(self.recorded, self.log.actors["arm"])

    def check_interrupted(self) -> None:
        """Raises DifferenceError where more steps were interrupted since the last call than control processes killed.

        Those that an actor kills itself count, which it says: they did not answer when it was told to stop.
        """
        text = (self.folder / "actor.txt").read_text(errors="replace")
        ended_by_actor = text.count("does not answer and is killed")
        killed = self.controls_killed + ended_by_actor - self._ended_by_actor
        found = self.log.actors["arm"]
        if extra := unexplained(self.recorded, found, killed, self._interrupted):
            new = found.interrupted[self._interrupted :]
            raise DifferenceError(f"{extra} of the interrupted steps {new} without a reason: {killed} killed")
        self.controls_killed, self._ended_by_actor = 0, ended_by_actor
        self._interrupted = len(found.interrupted)

    def finish(self) -> Difference:
        """Stops the actor once it has delivered what waited in its spool, and compares."""
        for _ in range(FINISHES):
            self.restart_dead()
            self.await_steps(1)
            assert self.actor is not None
            self.actor.send_signal(signal.SIGTERM)
            self.actor.wait(PATIENCE_S)
            said = (self.folder / "actor.txt").read_text(errors="replace").splitlines()
            if any("every step is delivered" in line for line in said[-3:]):
                return self.difference()
        raise DifferenceError(f"the spool was not delivered {FINISHES} times; {self.said()}")
