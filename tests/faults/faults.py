"""The faults of a trial: each does its harm to a tree that runs, and leaves it for ``Tree.restart_dead``."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from random import Random

from faults import hostile
from faults.tree import Tree

from episodes.log_segment import FRAME

type Fault = Callable[[Tree, Random], None]
LONGEST_STOP_S = 5.0


def _learner(tree: Tree) -> list[int]:
    assert tree.learner is not None
    return [tree.learner.pid]


def _comms(tree: Tree) -> list[int]:
    assert tree.actor is not None
    return [tree.actor.pid]


def _control(tree: Tree) -> list[int]:
    return [tree.control_pid]


def _all(tree: Tree) -> list[int]:
    return tree.pids()


TARGETS = {"the learner": _learner, "the comms process": _comms, "the control process": _control, "all": _all}


def signalled(target: str, number: signal.Signals, tree: Tree, random: Random) -> None:
    """Sends a signal, and waits for those of a user's own processes that end of it."""
    tree.kill(*TARGETS[target](tree), number=number)
    if number == signal.SIGKILL:
        tree.controls_killed += target in ("the control process", "all")
    if target in ("the learner", "all"):
        assert tree.learner is not None
        tree.learner.wait(60)
    if target in ("the comms process", "all"):
        assert tree.actor is not None
        tree.actor.wait(60)


def stopped(target: str, tree: Tree, random: Random) -> None:
    """SIGSTOP for a while."""
    pids = TARGETS[target](tree)
    tree.kill(*pids, number=signal.SIGSTOP)
    time.sleep(random.choice((0.1, 0.3, 1.0, 1.0, LONGEST_STOP_S)))
    tree.kill(*pids, number=signal.SIGCONT)


def torn_log(tree: Tree, random: Random) -> None:
    """The learner dies in the middle of an append: some of the bytes of a frame are at the end of its log."""
    signalled("the learner", signal.SIGKILL, tree, random)
    newest = max((tree.run / "log").glob("segment-*.log"))
    data = random.randbytes(random.randint(1, 400))
    frame = FRAME.pack(len(data), random.getrandbits(32)) + data
    with open(newest, "ab") as file:
        file.write(frame[: random.randint(1, len(frame))])


def partition(tree: Tree, random: Random) -> None:
    """Nothing gets through for a while; then what was on its way arrives, or the connections are gone."""
    tree.cable.pull()
    time.sleep(random.choice((0.2, 0.5, 1.0, 5.0)))
    if random.random() < 0.5:
        tree.cable.reset()
    tree.cable.plug()


def unplugged(tree: Tree, random: Random) -> None:
    """Every connection ends."""
    tree.cable.reset()


def full_disk(tree: Tree, random: Random) -> None:
    """The learner's disk is full for a while."""
    assert tree.ballast is not None
    with open(tree.ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            pass
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass
    time.sleep(random.choice((0.5, 1.5, 3.0)))
    if random.random() < 0.3:  # killed while it is full
        signalled("the learner", signal.SIGKILL, tree, random)
    os.unlink(tree.ballast)


def clock_jump(tree: Tree, random: Random) -> None:
    """The wall clock of every process jumps."""
    tree.clock.write_text(str(random.choice((-86_400, -5, 3, 600, 1e7))))


def second_actor(tree: Tree, random: Random) -> None:
    """An actor of the same name beside the one that runs, on this machine or as from another."""
    tree.await_steps(1)  # of two that come at once, after a fault that ended both, either may have the name
    elsewhere = random.random() < 0.5
    settings = {"spool": str(tree.folder / "spools-elsewhere")} if elsewhere else {}
    process = tree.actor_process("second", **settings)
    assert process.wait(60) == 1, "two actors of one name"


def message(name: str, tree: Tree, random: Random) -> None:
    """One of ``hostile.MESSAGES``."""
    hostile.send(tree, random, name)


FAULTS: dict[str, tuple[int, Fault]] = {
    **{f"kill -9 of {name}": (6, partial(signalled, name, signal.SIGKILL)) for name in TARGETS},
    **{
        f"SIGTERM to {name}": (2, partial(signalled, name, signal.SIGTERM)) for name in TARGETS if "control" not in name
    },
    **{f"SIGSTOP of {name}": (1, partial(stopped, name)) for name in TARGETS},
    "torn log tail": (3, torn_log),
    "partition": (3, partition),
    "connections reset": (2, unplugged),
    "full disk": (3, full_disk),
    "clock jump": (1, clock_jump),
    "second actor": (1, second_actor),
    **{name: (1, partial(message, name)) for name in hostile.MESSAGES},
}
"""How often each comes, and what it does. SIGTERM to the control process does nothing: its parent stops it."""
