"""A run with a gripper critic on the simulated arm: the real environment, person, log, replay, updates and policy."""

import dataclasses

import numpy as np
import pytest

from actor.episode import EpisodeRunner, Plan
from actor.evaluate import evaluate
from actor.pacing import LockstepPacer
from actor.policy_pilot import PolicyPilot
from actor.safety import Guard
from envs.so101_sim import SO101SimConfig, derive_contract, make
from envs.teleop.scripted import ScriptedOperator, ScriptedOperatorConfig
from episodes.commands import command_component, gripper_component
from episodes.outcome import Purpose
from learner.startup import prepare
from tests.learner.training_run import CONFIG, assert_equal, opened, started, tensors, update
from transport import records_pb2 as pb

WORLD = SO101SimConfig(max_episode_steps=25)
CONTRACT = derive_contract(WORLD)
SETTINGS = dataclasses.replace(CONFIG.algorithm, gripper="discrete", hidden=(32, 32))
GRIPPER = gripper_component(CONTRACT.interface)
STATE, COMMAND = command_component(CONTRACT.interface, GRIPPER)


class Sent:
    """What an episode records, sent to a learner as its arm would."""

    def __init__(self, arm):
        self.arm, self.steps, self.bodies = arm, [], []

    def start_episode(self, start):
        self.bodies = [{"start": start}]

    def begin_step(self, step):
        pass

    def finish_step(self, step, observation):
        step.observation.extend(map(bytes, observation))
        self.steps.append(step)
        self.bodies.append({"step": step})

    def end_episode(self, end):
        arm, records = self.arm, []
        for body in [*self.bodies, {"end": end}]:
            arm.sequence += 1
            records.append(pb.Record(sequence=arm.sequence, **body).SerializeToString())
        arm.run.ingest.accept(arm.spool_id, records)


def shown(step):
    """Last commands of the gripper as a step's observation shows them."""
    return np.frombuffer(step.observation[0], np.float32)[COMMAND]


def acted(run, arm, episodes, *, warmup, demonstrate):
    """The steps of some episodes, in which a noisy person drives from first to last, or helps."""
    sink, world = Sent(arm), make(WORLD)
    published = run.publisher.newer("", 0, 0)
    payloads = iter([published.payload])
    pilot = PolicyPilot(lambda spare_s: next(payloads, None), warmup=warmup, seed=1)
    person = ScriptedOperator(world, ScriptedOperatorConfig(demonstrate=demonstrate, takeover_share=1.0), seed=2)
    runner = EpisodeRunner(world, CONTRACT, sink, Guard(CONTRACT), LockstepPacer())
    for i in range(episodes):
        runner.run(Plan(Purpose.TRAINING, i), pilot, person)
    world.close()
    arm.flush()
    return sink.steps


@pytest.mark.parametrize("warmup", ["policy", "uniform"])
def test_what_is_executed_learned_from_and_shown_is_one_and_the_same(tmp_path, warmup):
    """No step of anybody has another gripper command than one of its classes: closed, open, or the last one."""
    config = dataclasses.replace(CONFIG, algorithm=SETTINGS)
    with started(tmp_path, config, CONTRACT) as (run, arm):
        steps = acted(run, arm, 2, warmup=warmup, demonstrate=False)
        steps += acted(run, arm, 2, warmup=warmup, demonstrate=True)
        assert {step.human for step in steps} == {True, False}
        for step in steps:
            assert step.chosen[GRIPPER] == step.sent[GRIPPER] == shown(step)
            assert step.chosen[GRIPPER] in (-1, 1)  # an episode starts open, so that staying is one of these too
        commands = {step.chosen[GRIPPER] for step in steps}
        assert commands == {-1, 1}
        batch = run.trainer.replay.windows(run.trainer.replay.online_rows)
        codec = run.trainer.algorithm.gripper.codec
        kinds = codec.classes(batch.action, codec.last_command(batch.observation))
        assert set(kinds.tolist()) == {0, 1, 2}
        later = batch.action[:, GRIPPER] != batch.observation[STATE][:, COMMAND]
        np.testing.assert_array_equal(later, kinds != 1)


def test_a_run_learns_publishes_evaluates_and_resumes_exactly(tmp_path):
    config = dataclasses.replace(CONFIG, algorithm=SETTINGS)
    with started(tmp_path, config, CONTRACT) as (run, arm):
        acted(run, arm, 3, warmup="policy", demonstrate=True)
        before = tensors(run.trainer)
        update(run.trainer, 8)
        after = tensors(run.trainer)
        for name in (
            "policy.gripper_critic.head.weight",
            "gripper_target.head.weight",
            "ema.gripper_critic.head.weight",
        ):
            assert not np.array_equal(before[name], after[name]), name
        assert run.trainer.means.take()["gripper_loss"] > 0
        spec, version, _ = run.policy()
        assert (spec.gripper, spec.gripper_input, version > 0) == (GRIPPER, STATE, True)
        payload = run.publisher.newer("", 0, 0).payload
        assert evaluate("so101_sim", WORLD, policy=payload, episodes=1).steps[0] > 0
        run.trainer.save()
        update(run.trainer, 8)
        expected = tensors(run.trainer)
    with opened(tmp_path, config, CONTRACT) as resumed:
        prepare(resumed.trainer, resumed.log)
        assert resumed.trainer.algorithm.updates == 8
        update(resumed.trainer, 8)
        assert_equal(tensors(resumed.trainer), expected)
