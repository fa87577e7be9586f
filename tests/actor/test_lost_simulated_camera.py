"""A camera of the simulated arm that fails in mid-episode: the arm holds, goes on or is cut, and says why."""

import numpy as np
import pytest

from actor.episode import EpisodeRunner, Plan
from actor.pacing import LockstepPacer
from actor.policy_pilot import PolicyPilot
from actor.safety import MOST_BLIND_STEPS, Guard
from envs.registry import derive_contract, make_env
from envs.so101_sim import SO101SimConfig
from envs.teleop.operator import NoOperator
from episodes.outcome import Held, Outcome, Purpose
from policies.snapshot import save_snapshot
from policies.spec import build_policy, spec_from_contract

WRIST = "observation.images.wrist"


class Steps:
    """Keeps why each step was held."""

    def __init__(self):
        self.held = []

    def start_episode(self, start): ...
    def begin_step(self, step): ...
    def end_episode(self, end): ...

    def finish_step(self, step, observation):
        assert len(observation) == 4, "every feature is stored, the last good frame in place of a lost one"
        self.held.append(Held(step.held))


@pytest.mark.parametrize(
    ("frame", "got"),
    [(None, "no frame"), (np.zeros((32, 32, 3), np.uint8), "uint8 of shape (32, 32, 3)")],
    ids=["gone", "smaller"],
)
@pytest.mark.parametrize("gone_steps", [3, 1000])
def test_the_arm_holds_while_a_camera_fails(monkeypatch, frame, got, gone_steps):
    config = SO101SimConfig(obs="pixels", max_episode_steps=40 if gone_steps == 1000 else 12)
    contract = derive_contract("so101_sim", config)
    env = make_env("so101_sim", config)
    cameras, calls = env.unwrapped._cameras, []
    real = cameras.image

    def image(data, camera):
        calls.append(camera)
        failing = 5 <= calls.count("wrist") < 5 + gone_steps
        return frame if camera == "wrist" and failing else real(data, camera)

    monkeypatch.setattr(cameras, "image", image)
    payloads = iter([save_snapshot(build_policy(spec_from_contract(contract, hidden=(8,))), 1)])
    pilot = PolicyPilot(lambda spare_s: next(payloads, None), exploration_share=0.0)
    pilot.refresh()
    said, sink = [], Steps()
    runner = EpisodeRunner(env, contract, sink, Guard(contract), LockstepPacer(), say=said.append)
    try:
        episode = runner.run(Plan(Purpose.TRAINING, 3), pilot, NoOperator())
    finally:
        env.close()
    assert said[0] == (
        f"the robot holds still until a camera is back: {WRIST}: expected uint8 of shape (64, 64, 3) from the camera, "
        f"got {got}"
    )
    blind = sink.held.count(Held.LOST_CAMERA)
    if gone_steps == 1000:
        assert (episode.outcome, blind) == (Outcome.CUT, MOST_BLIND_STEPS)
        assert said[1].startswith(f"the episode is cut here: {WRIST}")
    else:
        assert (episode.outcome, episode.steps) == (Outcome.TIMEOUT, 12)
        assert blind == gone_steps + 1
        assert len(said) == 1
