"""``tandem actor flush=true``: what earlier actors left in their spools goes to the learner, and nothing moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from actor.console import ActorConsole
from actor.ending import why_stopped
from actor.spool import Spool, SpoolError
from actor.spool_folder import SpoolFolder, spools, waiting
from actor.stop_signal import StopSignal
from actor.uplink import Uplink

_TURN_S = 0.05


def flush_run(
    root: Path,
    name: str,
    run_id: str,
    deliver: Callable[[SpoolFolder], int],
    console: ActorConsole,
    stop: StopSignal,
    *,
    takeover: bool,
) -> int:
    """Delivers the spool of a run that an actor left or, with an empty ``name``, those of all that run no more.

    Returns 0 where all was delivered, otherwise the last code of ``deliver`` that is not 0; 1 where ``name`` has no
    spool of this run, or one that is in use.
    """
    names = [name] if name else [path.parent.parent.name for path in spools(root, run_id=run_id)]
    code = 0
    for one in names:
        if stop.asked:
            break
        try:
            if not spools(root, one, run_id):
                raise SpoolError(f"no actor named {one!r} left a spool of run {run_id} in {root}")
            folder = SpoolFolder(root, one, takeover=takeover and bool(name))
        except SpoolError as error:
            console.say(f"nothing delivered: {error}")
            code = code or int(bool(name))
            continue
        try:
            code = deliver(folder) or code
        except SpoolError as error:
            console.say(str(error))
            code = 1
        finally:
            folder.close()
    if not names:
        console.say(f"no actor left a spool of run {run_id} in {root}: nothing to deliver")
    for line in waiting(root):
        console.say(line)
    return code


def flush(uplink: Uplink, spool: Spool, console: ActorConsole, stop: StopSignal) -> int:
    """Returns 0 once all is delivered, 1 where the learner refuses it, 130 where it was stopped before."""
    waiting = spool.undelivered
    uplink.start()
    while spool.undelivered and not stop.asked and not uplink.error:
        time.sleep(_TURN_S)
    uplink.finish(1.0)
    left = spool.undelivered
    stopped = f"{why_stopped(stop, spool.actor)[0]}; " if stop.asked else ""
    console.say(uplink.error or f"{stopped}delivered {waiting - left} records; {left} wait in {spool.path.parent}")
    return (1 if uplink.error else stop.code) if left else 0
