"""How actors end, and what they say of it."""

import time

import numpy as np

from envs.generic import GymConfig


def executed(run):
    """(episode, step) of every step in the log, by the witness's own numbers."""
    return [tuple(int(v) for v in np.frombuffer(s.observation[0], np.float32)[:2]) for s in run.steps]


def test_ctrl_c_again_and_again_ends_an_actor_at_once_and_loses_nothing(bench, actor, wait_for):
    run = bench("gym", GymConfig(id="Witness-v0", settings="step_s=0.5"))
    run.publish(0)
    arm = actor(run.port)
    wait_for(lambda: len(arm.witnessed) > 1)
    run.stop()
    count = len(arm.witnessed)
    wait_for(lambda: len(arm.witnessed) > count)
    while arm.process.poll() is None:
        arm.interrupt()
        time.sleep(0.02)
    assert arm.end() == 130
    assert f"stopped at once; what is not delivered yet stays in {arm.spools}" in arm.text
    assert "Traceback" not in arm.text
    run.start()
    assert actor(run.port, flush=True).end() == 0
    assert executed(run) == arm.witnessed
