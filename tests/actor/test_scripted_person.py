"""A whole actor with the simulated arm and a scripted person who takes over."""

from pathlib import Path

import numpy as np
import pytest

from envs.so101_sim import SO101SimConfig
from episodes.acting import ActingSettings
from episodes.layout import ObservationLayout
from episodes.outcome import Purpose
from policies.snapshot import load_snapshot
from policies.stacking import FrameStack
from tests.actor.bench import ActorProcess, Bench, wait_for

EVALUATED = 3


class Played:
    """One actor's run: training with takeovers, a newer policy, and an evaluation, to its end.

    Attributes:
        bench: That served it.
        payload: The policy that was evaluated.
        maps: The files that the control process had mapped.
    """

    def __init__(self, folder):
        config = SO101SimConfig(task="reach", control_hz=50.0, max_episode_steps=15)
        acting = ActingSettings(pacing="realtime", warmup="uniform")
        self.bench = Bench(folder / "run", "so101_sim", config, acting=acting).start()
        self.payload = self.bench.snapshot(EVALUATED, seed=EVALUATED)
        self.bench.publish(0)
        self._arm = ActorProcess(self.bench.port, folder, operator="scripted")

    def play(self):
        run = self.bench
        wait_for(lambda: any(s.human for s in run.steps) and any(not s.human for s in run.steps))
        self.maps = Path(f"/proc/{self._arm.control_pid}/maps").read_text()
        run.publish(5)
        wait_for(lambda: run.steps[-1].policy_version == 5)
        run.publisher.request_evaluation(1, EVALUATED, self.payload, 2, 1000, run.spool_id)
        wait_for(lambda: len(evaluated(run)) == 2)
        run.ingest.finish("enough")
        assert self._arm.end() == 0, self._arm.text

    def close(self):
        self._arm.kill()
        self.bench.stop()


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    one = Played(tmp_path_factory.mktemp("played"))
    try:
        one.play()
        yield one
    finally:
        one.close()


def test_an_evaluation_is_the_policys_mean_and_no_persons(played):
    run = played.bench
    _, version, policy = load_snapshot(played.payload)
    layout = ObservationLayout(run.contract.stored)
    for start, steps in evaluated(run):
        stack = FrameStack(dict(zip(run.spec.inputs, run.spec.stacks, strict=True)))
        seen = stack.reset(_copied(layout, start.observation))
        assert steps
        for step in steps:
            assert (step.human, step.policy_version) == (False, version)
            mean = policy.act(seen, deterministic=True)
            np.testing.assert_allclose(step.proposed, mean, atol=1e-6)
            assert list(step.chosen) == list(step.proposed)
            seen = stack.push(_copied(layout, step.observation))


def _copied(layout, observation):
    return {name: np.array(value) for name, value in layout.unpack(observation).items()}


def evaluated(run):
    """Start and steps of every evaluation episode that ended."""
    records = run.records
    starts = {r.start.episode_id: r.start for r in records if r.HasField("start")}
    ended = [starts[r.end.episode_id] for r in records if r.HasField("end")]
    return [
        (start, [r.step for r in records if r.HasField("step") and r.step.episode_id == start.episode_id])
        for start in ended
        if start.purpose == Purpose.EVALUATION
    ]


def test_the_simulated_arm_with_a_scripted_person(played):
    assert "mujoco" in played.maps
    assert "grpc" not in played.maps
    training = [s for s in played.bench.steps if s.policy_version != EVALUATED]
    assert {s.policy_version for s in training} >= {0, 5}
    assert all(list(s.proposed) != list(s.chosen) for s in training if s.human)
    uniform = np.array([list(s.proposed) for s in training if s.policy_version == 0])
    assert uniform.std() > 0.4
