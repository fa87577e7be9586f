"""A camera that is gone for a while, or changes its size for good, while an image policy acts."""

import numpy as np
import pytest

from actor.episode import EpisodeRunner, Plan, ResetError
from actor.pacing import LockstepPacer
from actor.policy_pilot import PolicyPilot
from actor.safety import MOST_BLIND_STEPS, Guard
from envs.generic import GymConfig
from envs.registry import derive_contract, make_env
from envs.teleop.operator import NoOperator
from episodes.layout import ObservationLayout
from episodes.outcome import Held, Outcome, Purpose
from episodes.spool_position import SpoolPosition
from episodes.validation import check_record
from policies.snapshot import save_snapshot
from policies.spec import build_policy, spec_from_contract
from transport import records_pb2 as pb

FRONT = "observation.images.front"
VIEW = {"image_crop": (0, 8, 48, 48), "image_resize": (32, 32), "image_stack": 2}


def camera(settings: str, **others) -> GymConfig:
    return GymConfig(id="WitnessCamera-v0", settings=settings, **VIEW, **others)


class Records:
    """Keeps the records of an episode and checks that a log and a learner would take them."""

    def __init__(self, contract):
        self.records, self.contract = [], contract

    def _keep(self, **body):
        self.records.append(pb.Record(sequence=len(self.records) + 1, **body))

    def start_episode(self, start):
        self._keep(start=start)

    def begin_step(self, step): ...

    def finish_step(self, step, observation):
        step.observation.extend(map(bytes, observation))
        self._keep(step=step)

    def end_episode(self, end):
        self._keep(end=end)

    @property
    def steps(self):
        position, layout = SpoolPosition(), ObservationLayout(self.contract.stored)
        for record in self.records:
            check_record(record, layout, 2)
            position.advance(record)
        return [r.step for r in self.records if r.HasField("step")]

    def shades(self):
        """What the camera showed in each stored observation after the first: the number of the step."""
        layout = ObservationLayout(self.contract.stored)
        return [int(layout.unpack(s.observation)[FRONT][0, 0, 0]) for s in self.steps]


class Watched(PolicyPilot):
    """Counts how often the policy is asked."""

    asked = 0

    def propose(self):
        self.asked += 1
        return super().propose()


@pytest.fixture
def play():
    """Runs one episode with an image policy: the episode, its records, the pilot, what was said and who ran it."""
    opened = []

    def run(config, runs=1):
        contract = derive_contract("gym", config)
        payloads = iter([save_snapshot(build_policy(spec_from_contract(contract, hidden=(8,))), 1)])
        pilot = Watched(lambda spare_s: next(payloads, None), exploration_share=0.0)
        pilot.refresh()
        env, sink, said = make_env("gym", config), Records(contract), []
        opened.append(env)
        runner = EpisodeRunner(env, contract, sink, Guard(contract), LockstepPacer(), say=said.append)
        episode = runner.run(Plan(Purpose.TRAINING, 3), pilot, NoOperator())
        return episode, sink, pilot, said, runner

    yield run
    for env in opened:
        env.close()


def test_lost_frames_hold_the_arm_and_the_episode_goes_on(play):
    episode, sink, pilot, said, _ = play(camera("gone_from=4,gone_steps=3"))
    held = [Held(s.held) for s in sink.steps]
    assert held == [Held.NO] * 3 + [Held.LOST_CAMERA] * 4 + [Held.NO] * 5
    assert sink.shades() == [1, 2, 3, 3, 3, 3, 7, 8, 9, 10, 11, 12]
    assert all(list(s.sent) == list(sink.steps[3].sent) for s in sink.steps[4:7])
    assert (episode.outcome, episode.steps, episode.held_steps, pilot.asked) == (Outcome.TIMEOUT, 12, 4, 9)
    assert said == [
        "the robot holds still until a camera is back: observation.images.front: expected uint8 of shape (48, 64, 3) "
        "from the camera, got no frame"
    ]


def test_a_camera_of_another_size_cuts_the_episode_and_the_next_one_does_not_start(play):
    episode, sink, _, said, runner = play(camera("smaller_from=6", max_episode_steps=100))
    assert (episode.outcome, episode.steps) == (Outcome.CUT, 5 + MOST_BLIND_STEPS)
    assert sink.records[-1].end.author == "actor"
    assert [bool(s.held) for s in sink.steps] == [False] * 5 + [True] * MOST_BLIND_STEPS
    lost = (
        "observation.images.front: expected uint8 of shape (48, 64, 3) from the camera, got uint8 of shape (24, 32, 3)"
    )
    assert said == [f"the robot holds still until a camera is back: {lost}", f"the episode is cut here: {lost}"]
    with pytest.raises(ResetError) as error:
        runner.run(Plan(Purpose.TRAINING, 4), Watched(lambda spare_s: None), NoOperator())
    assert str(error.value).endswith(f"its first observation was never whole and fresh: {lost}")


def test_the_guard_finds_an_image_that_no_wrapper_looked_at():
    contract = derive_contract("gym", camera(""))
    guard = Guard(contract)
    good = {FRONT: np.zeros((32, 32, 3), np.uint8), "observation.state": np.zeros(3, np.float32)}
    assert guard.fault_of_observation(good, {}) is Held.NO
    for bad, got in (
        ({}, "none"),
        ({FRONT: np.zeros((48, 64, 3), np.uint8)}, r"uint8 of shape (48, 64, 3)"),
        ({FRONT: np.zeros((32, 32, 3), np.float32)}, r"float32 of shape (32, 32, 3)"),
    ):
        assert (
            guard.fault_of_observation({"observation.state": good["observation.state"], **bad}, {}) is Held.LOST_CAMERA
        )
        assert guard.lost_camera == f"{FRONT}: expected uint8 of shape (32, 32, 3), got {got}"


def test_an_actor_whose_camera_changes_ends_with_one_error_and_nothing_lost(bench, actor):
    run = bench("gym", camera("smaller_from=6", max_episode_steps=100))
    run.publish(0)
    arm = actor(run.port)
    assert arm.end() == 1
    lost = (
        "observation.images.front: expected uint8 of shape (48, 64, 3) from the camera, got uint8 of shape (24, 32, 3)"
    )
    assert (
        "the control process ended: the environment was reset 5 times and its first observation was never" in arm.text
    )
    assert f"the robot holds still until a camera is back: {lost}" in arm.text
    assert "Traceback" not in arm.text
    assert "every step is delivered" in arm.text
    assert len(run.steps) == len(arm.witnessed) == 5 + MOST_BLIND_STEPS
    ends = [r.end.outcome for r in run.records if r.HasField("end")]
    assert ends == [Outcome.CUT]
