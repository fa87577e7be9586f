"""``tandem actor flush=true``: what an earlier actor left in its spool goes to the learner, and nothing moves."""

from __future__ import annotations

import time

from actor.console import ActorConsole
from actor.spool import Spool
from actor.stop_signal import StopSignal
from actor.uplink import Uplink

_TURN_S = 0.05


def flush(uplink: Uplink, spool: Spool, console: ActorConsole, stop: StopSignal) -> int:
    """Returns 0 once all is delivered, 1 where the learner refuses it, 130 where it was stopped before."""
    waiting = spool.undelivered
    uplink.start()
    while spool.undelivered and not stop.asked and not uplink.error:
        time.sleep(_TURN_S)
    left = spool.undelivered
    uplink.finish(1.0)
    console.say(uplink.error or f"delivered {waiting - left} records; {left} wait in {spool.path.parent}")
    return (1 if uplink.error else stop.code) if left else 0
