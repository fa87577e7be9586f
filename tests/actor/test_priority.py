"""Where processors are short, an actor's link to the learner waits rather than its control loop."""

import os
import sys
from pathlib import Path

import pytest

from envs.generic import GymConfig
from transport.priority import NICE

OTHER, BATCH = "0", "3"
OF_GRPC = ("event_engine", "lifeguard", "grpc")


def priorities(pid):
    """(name, nice, scheduling policy) of every thread of a process."""
    threads = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            name, _, rest = (task / "stat").read_text().rpartition(")")
        except OSError:
            continue  # it has ended
        threads.append((name.partition("(")[2], *map(rest.split().__getitem__, (16, 38))))
    return threads


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
def test_the_threads_of_grpc_have_a_lower_priority_than_the_control_process(bench, actor, wait_for):
    run = bench("gym", GymConfig(id="Witness-v0", settings="step_s=0.02"))
    run.publish(0)
    arm = actor(run.port)
    wait_for(lambda: len(run.steps) > 5)

    def of_grpc():
        return [found for name, *found in priorities(arm.process.pid) if name.startswith(OF_GRPC)]

    wait_for(lambda: len(of_grpc()) > 1)
    assert all(found == [str(NICE), BATCH] for found in of_grpc()), of_grpc()
    usual = [str(os.nice(0)), OTHER]
    assert usual in [found for _, *found in priorities(arm.process.pid)]
    assert {tuple(found) for _, *found in priorities(arm.control_pid)} == {tuple(usual)}
