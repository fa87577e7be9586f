"""What gives way where processors are short: what the network asks for, to updates and to the control of a robot.

Linux alone has priorities of threads; elsewhere, and where a container forbids it, nothing happens.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

NICE = 10
_OF_GRPC = ("event_engine", "lifeguard", "grpc")


def give_way() -> None:
    """Lowers the priority of this thread, and has it interrupt no other when it wakes (``SCHED_BATCH``); so too threads
    that start from it."""
    if sys.platform == "linux":
        _give_way(threading.get_native_id())


def grpc_gives_way() -> None:
    """The same for the threads that gRPC has started in this process."""
    if sys.platform == "linux":
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # it has ended
                if (task / "comm").read_text().startswith(_OF_GRPC):
                    _give_way(int(task.name))


def _give_way(thread: int) -> None:
    with suppress(OSError):
        # A program that was started with less has it for all of its threads.
        os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))
        os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
