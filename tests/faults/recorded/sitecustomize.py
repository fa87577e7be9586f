"""On PYTHONPATH of the programs under test: the environment that keeps a record, and a wall clock that can jump."""

import os
import sys
import time

import gymnasium

gymnasium.register("Recorded-v0", entry_point="recorded_env:RecordedEnv", max_episode_steps=25)


def _jumping(clock, unit):
    """``clock`` plus the seconds in the file CLOCK_PATH, where there is one; as it is for gRPC, whose other
    clock does not jump here.
    """

    def read():
        if sys._getframe(1).f_globals.get("__name__", "").startswith("grpc"):
            return clock()
        try:
            with open(os.environ["CLOCK_PATH"]) as file:
                return clock() + type(unit)(float(file.read() or 0) * unit)
        except FileNotFoundError:
            return clock()

    return read


if "CLOCK_PATH" in os.environ:
    time.time, time.time_ns = _jumping(time.time, 1.0), _jumping(time.time_ns, 10**9)
