"""Where the spools of an actor live: one folder per actor and run, held by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from actor.config import key_of
from actor.spool import Spool, SpoolError, record_bytes
from actor.stop_signal import TAKE_OVER
from episodes.contract import Contract
from episodes.disk import check_writable, passing

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MOST_RECORDS = 65_536
CONTROL_WAIT_S = 5.0
KILLED_WAIT_S = 3.0  # for a named actor's killed predecessor to be gone
ENDING_WAIT_S = 20.0  # for one that was asked to end


def default_folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "tandem" / "spools"


def check_name(name: str) -> None:
    """Raises SpoolError for a name that no actor can have; an empty one stands for any."""
    if name and not _NAME.fullmatch(name):
        raise SpoolError(f"an actor's name must be letters, digits, '.', '_' and '-'. Got: {name!r}")


def spools(root: Path, actor: str = "", run_id: str = "") -> list[Path]:
    """The files of all spools, or of those of an actor, of a run, or of both, in order."""
    found = sorted(root.glob("*/*/spool.bin"))
    return [p for p in found if actor in ("", p.parent.parent.name) and run_id in ("", p.parent.name)]


def lock(path: Path, *, wait_s: float = 0.0) -> IO[bytes] | None:
    """The exclusive lock on a file, held until it is closed or the process dies; None where another has it.

    The file then names the process id of its holder, and where that id means something.
    """
    file = path.open("a+b")
    give_up = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(f"{os.getpid()} {_process_space()}".encode())
            file.flush()
            return file
        except OSError:
            if time.monotonic() >= give_up:
                file.close()
                return None
            time.sleep(0.05)


class SpoolFolder:
    """The spools of one actor, locked. Raises SpoolError where another process holds them, or the name is unfit.

    Args:
        root: Folder of all spools.
        name: Name of the actor; empty for the host's name, numbered where that is taken.
        takeover: Ask the process that holds them to end, where it is of this machine, and wait for it.
    """

    def __init__(self, root: Path, name: str, *, takeover: bool = False) -> None:
        for candidate in _names(name):
            check_name(candidate)
            folder = root / candidate
            check_writable(folder)
            held = lock(folder / "lock", wait_s=KILLED_WAIT_S if name and not takeover else 0.0)
            if held is None and takeover:
                _ask_to_end(folder / "lock")
                held = lock(folder / "lock", wait_s=ENDING_WAIT_S)
            if held is not None:
                self.name, self.folder, self._lock = candidate, folder, held
                return
        raise SpoolError(
            f"another actor named {candidate!r} runs on this machine (pid {_holder(folder / 'lock')}) and holds "
            f"{folder}. Stop it, give this one a name of its own: actor.name=NAME, or end it: takeover=true"
            + ", which did not end it: it may run in another container or on another machine"
            * takeover
        )

    def open(self, run_id: str, contract: Contract, spool_mb: int) -> tuple[Spool, str]:
        """The spool of a run, made where there is none, and what had to be recovered from an earlier actor.

        Raises SpoolError where it holds records of another interface, or its control process is still alive.
        """
        if not _NAME.fullmatch(run_id):
            raise SpoolError(f"the learner names its run {run_id!r}, which is no plain name")
        folder = self.folder / run_id
        folder.mkdir(exist_ok=True)
        path = folder / "spool.bin"
        if not path.exists():
            slot = record_bytes(contract)
            capacity = max(64, min(_MOST_RECORDS, spool_mb * 1_000_000 // slot))
            Spool.create(
                path,
                run_id=run_id,
                actor=self.name,
                fingerprint=contract.interface_fingerprint,
                slot_bytes=slot,
                capacity=capacity,
            ).close()
            if warning := passing(folder):
                print(f"actor: {warning}", flush=True)
        spool = Spool(path)
        if (spool.run_id, spool.fingerprint) != (run_id, contract.interface_fingerprint):
            raise SpoolError(
                f"{path} holds records of run {spool.run_id} with interface {spool.fingerprint}; this is run {run_id} "
                f"with {contract.interface_fingerprint}. Move the folder away to start a new spool."
            )
        producer = lock(path.with_name("control.lock"), wait_s=CONTROL_WAIT_S)
        if producer is None:
            pid = _holder(path.with_name("control.lock"))
            raise SpoolError(
                f"the control process of an earlier actor still runs (pid {pid}) and holds {folder}. Stop it first."
            )
        said = spool.recover()
        producer.close()
        return spool, said

    def others(self, run_id: str) -> list[str]:
        """One line per spool of another run or name that waits for its learner."""
        return waiting(self.folder.parent, self.folder / run_id)

    def discard(self, run_id: str) -> None:
        """Removes the spool of a run that is over and delivered."""
        shutil.rmtree(self.folder / run_id, ignore_errors=True)

    def close(self) -> None:
        self._lock.close()


def waiting(root: Path, own: Path | None = None) -> list[str]:
    """One line per spool but ``own`` that holds undelivered records and that no actor uses. They stay there."""
    lines = []
    for path in spools(root):
        if path.parent == own:
            continue
        actor = path.parent.parent
        try:
            spool = Spool(path)
            line = spool.undelivered and (
                f"{spool.undelivered} records of run {spool.run_id} wait in {path.parent} and are kept there. To "
                f"deliver them to that run's learner: {_flush_command(root, actor.name)}. To drop them for good, "
                f"delete {path.parent}"
            )
            spool.close()
        except SpoolError as error:
            line = str(error)
        except OSError:
            continue  # gone meanwhile, or another user's
        if line and ((own and actor == own.parent) or not is_held(actor)):
            lines.append(line)
    return lines


def _holder(path: Path) -> str:
    return path.read_text().partition(" ")[0] or "unknown"


def _process_space() -> str:
    """Where a process id means one process: the boot of a machine and, within it, the process namespace."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _ask_to_end(path: Path) -> None:
    """TAKE_OVER to the holder of a lock, where it is a process that this one can tell from others."""
    pid, _, space = path.read_text().partition(" ")
    if space == _process_space():
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(pid), TAKE_OVER)


def is_held(folder: Path) -> bool:
    """Whether a process runs, this one included, that has the folder of an actor."""
    try:
        with (folder / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _flush_command(root: Path, name: str) -> str:
    words = ["tandem", "actor", "learner.address=HOST:PORT", "flush=true", f"actor.name={name}"]
    return shlex.join(words if root == default_folder() else [*words, f"{key_of('spool')}={root}"])


def _names(name: str) -> Iterator[str]:
    if name:
        yield name
        return
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).strip("-._") or "actor"
    yield host[:48]
    for number in range(2, 100):
        yield f"{host[:48]}-{number}"
