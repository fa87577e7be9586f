"""The control process, from its orders to its exit code.

Its orders are one JSON object (ControlConfig) on standard input, which stays open as long as its parent lives: end of
file means the parent is gone, and the arm holds.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from actor.config import ControlConfig
from actor.control import Control, say
from actor.device import DeviceError
from actor.episode import ResetError
from actor.pilot import ReadyPilot
from actor.spool import SpoolError
from actor.spool_folder import lock
from envs.errors import EnvError
from envs.mujoco_gl import RenderError
from policies.errors import SnapshotError
from reward.config import RewardError

FAILED = 3


def main(pilots: Callable[[str, int], Callable[..., ReadyPilot]]) -> int:
    """Runs the process. ``pilots`` makes, of a device and a number of threads, what makes the pilots of episodes.

    Exit codes: 0 told to stop, FAILED after a line that says why.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    orders = sys.stdin.buffer.readline()
    if not orders:
        return 0
    config = ControlConfig(**json.loads(orders))
    producer = lock(Path(config.spool_path).with_name("control.lock"), wait_s=5.0)
    if producer is None:
        say(f"another control process holds {config.spool_path}")
        return FAILED
    control = None
    try:
        control = Control(config, _parent_alive, pilots(config.device, config.torch_threads))
        gc.freeze()  # a full collection walks all that was imported: more than a period of some step
        control.run()
    except (EnvError, RenderError, SpoolError, SnapshotError, ResetError, DeviceError, RewardError) as error:
        say(str(error))
        return FAILED
    except Exception as error:
        traceback.print_exc()
        say(f"{type(error).__name__}: {error}")
        return FAILED
    finally:
        if control is not None:
            control.close()
    return 0


def _parent_alive() -> bool:
    """Standard input ends when the parent does, however it dies."""
    readable, _, _ = select.select([sys.stdin], [], [], 0)
    return not readable or bool(os.read(sys.stdin.fileno(), 1))


if __name__ == "__main__":
    from actor.policy_pilot import policy_pilots  # seconds, while the orders are still to come

    sys.exit(main(policy_pilots))
