"""Who says what a step is worth: the environment, a person, or a classifier that the learner hands out."""

import re

import numpy as np
import pytest

from actor.amending import amended
from actor.classifier_rewarding import ClassifierRewarding
from actor.episode import Episode, EpisodeRunner, Plan
from actor.pacing import LockstepPacer
from actor.pilot import Idle
from actor.rewarding import GOES_ON, HumanRewarding, make_rewarding
from actor.safety import Guard
from actor.shared import Board, create_block
from envs.generic import GymConfig
from envs.so101_sim import SO101SimConfig, derive_contract, make
from envs.teleop.operator import Event, NoOperator, OperatorInput
from envs.teleop.scripted import ScriptedOperator, ScriptedOperatorConfig
from episodes.outcome import Outcome, Purpose
from reward.config import ClassifierReward, RewardError
from reward.drift import EVERY, WINDOW
from reward.effective import step_reward
from reward.preprocessing import cameras_of
from reward.storage import load_classifier
from tests.actor.test_episode import Records
from tests.reward.squares import constant_classifier

CONFIG = SO101SimConfig(obs="pixels", image_width=24, image_height=24, max_episode_steps=30)
CONTRACT = derive_contract(CONFIG)
PLAN = Plan(Purpose.TRAINING, 3)
CAMERAS = cameras_of(CONTRACT)
WITNESS = GymConfig(id="WitnessCamera-v0")


@pytest.fixture(scope="module")
def env():
    made = make(CONFIG)
    yield made
    made.close()


def lifted(env, rewarding, **settings):
    """The episode and its records when the scripted person lifts the cube."""
    sink = Records()
    operator = ScriptedOperator(env, ScriptedOperatorConfig(demonstrate=True, **settings), seed=1)
    runner = EpisodeRunner(env, CONTRACT, sink, Guard(CONTRACT), LockstepPacer(), rewarding=rewarding)
    return runner.run(PLAN, Idle(4), operator), sink


def classifier(logit, **settings):
    given = load_classifier(constant_classifier(CAMERAS, logit))
    return ClassifierRewarding(ClassifierReward(**settings), CONTRACT, given)


def test_without_a_word_of_the_person_the_environments_success_neither_counts_nor_ends(env):
    episode, sink = lifted(env, HumanRewarding())
    assert (episode.outcome, episode.steps, episode.episode_return) == (Outcome.TIMEOUT, 30, 0.0)
    assert max(r.value for s in sink.steps for r in s.rewards if r.source == "env") == 1.0
    assert {step_reward(s.rewards) for s in sink.steps} == {0.0}
    assert (sink.steps[-1].terminated, sink.steps[-1].truncated) == (False, True)


def test_a_person_ends_an_episode_as_a_success(env):
    episode, sink = lifted(env, HumanRewarding(), judge_steps=2)
    assert episode.outcome is Outcome.SUCCESS
    assert episode.steps < 30
    assert (step_reward(sink.steps[-1].rewards), sink.steps[-1].terminated) == (1.0, True)


def test_a_person_is_asked_after_a_time_out(env):
    class Late(NoOperator):
        waited = 0

        def between_episodes(self):
            self.waited += 1
            return OperatorInput(events=(Event.SUCCESS,) if self.waited == 3 else ())

    sink, shown = Records(), []
    runner = EpisodeRunner(
        env,
        CONTRACT,
        sink,
        Guard(CONTRACT),
        LockstepPacer(),
        rewarding=HumanRewarding(),
        on_step=lambda episode, said: shown.append(said.doing),
    )
    episode = runner.run(PLAN, Idle(4), Driven(Late()))
    assert episode.outcome is Outcome.SUCCESS
    end = sink.records[-1].end
    assert (end.outcome, end.author) == (Outcome.SUCCESS, "person")
    assert "Was it a success?" in shown[-1]


class Driven:
    """Somebody who holds still, and between episodes says what ``other`` says."""

    def __init__(self, other):
        self.between_episodes = other.between_episodes

    def begin_episode(self):
        pass

    def poll(self, observation, proposed):
        return OperatorInput(action=np.zeros(4, np.float32))

    def close(self):
        pass


def test_a_classifier_ends_an_episode_and_its_score_is_logged_with_every_step(env):
    episode, sink = lifted(env, classifier(3.0, confirm=4, min_step=6))
    assert (episode.outcome, episode.steps) == (Outcome.SUCCESS, 7)
    assert sink.records[-1].end.author.startswith("classifier:constant@")
    for step in sink.steps:
        said = {r.source.split("@")[0]: r.value for r in step.rewards}
        assert said["score:constant"] == pytest.approx(0.9526, abs=1e-3)
        assert said["classifier:constant"] == float(step.index == 6)
    assert (step_reward(sink.steps[-1].rewards), sink.steps[-1].terminated) == (1.0, True)


def test_a_classifier_that_sees_no_success_leaves_a_time_out_truncated_whatever_is_true(env):
    episode, sink = lifted(env, classifier(-3.0))
    assert (episode.outcome, episode.steps) == (Outcome.TIMEOUT, 30)
    assert any(r.source == "env" and r.value == 1.0 for s in sink.steps for r in s.rewards)
    assert (sink.steps[-1].terminated, sink.steps[-1].truncated) == (False, True)
    assert {step_reward(s.rewards) for s in sink.steps} == {0.0}


def test_a_new_classifier_that_cannot_be_used_leaves_the_old_one_at_work(env):
    said, letters = [], [b"nonsense", constant_classifier(CAMERAS[:1], 1.0, name="other")]
    rewarding = ClassifierRewarding(
        ClassifierReward(confirm=1, min_step=0),
        CONTRACT,
        load_classifier(constant_classifier(CAMERAS, -3.0)),
        lambda: letters.pop(0) if letters else None,
        said.append,
    )
    rewarding.refresh()
    assert "a new classifier cannot be used, constant@" in said[0]
    rewarding.refresh()
    assert said[1].startswith("success is now what classifier other@")


def test_a_swap_says_which_gates_came_and_which_went():
    said, gates = [], [("tool.z>0.06", "tool.x<1"), ("tool.z>0.06",)]
    rewarding = ClassifierRewarding(
        ClassifierReward(),
        CONTRACT,
        load_classifier(constant_classifier(CAMERAS, 0.0, gates=("gripper.pos<0.6",))),
        lambda: constant_classifier(CAMERAS, 0.0, gates=gates.pop(0)),
        said.append,
    )
    rewarding.refresh()
    assert said[0].endswith("says; new gates: tool.x<1, tool.z>0.06; gates that no longer hold: gripper.pos<0.6")
    rewarding.refresh()
    assert said[1].endswith("says; gates that no longer hold: tool.x<1")


def test_a_classifier_offered_in_mid_episode_is_taken_when_the_next_one_begins(env):
    letters = []
    rewarding = ClassifierRewarding(
        ClassifierReward(confirm=1, min_step=0),
        CONTRACT,
        load_classifier(constant_classifier(CAMERAS, -3.0, name="first")),
        lambda: letters.pop() if letters else None,
    )
    sink = Records()

    def offer(episode, said):
        if episode.steps == 5:
            letters.append(constant_classifier(CAMERAS, 3.0, name="second"))

    runner = EpisodeRunner(env, CONTRACT, sink, Guard(CONTRACT), LockstepPacer(), rewarding=rewarding, on_step=offer)
    holding = Driven(NoOperator())
    one, two = (runner.run(PLAN, Idle(4), holding) for _ in range(2))
    assert (one.outcome, two.outcome) == (Outcome.TIMEOUT, Outcome.SUCCESS)
    judges = [{r.source.split("@")[0] for r in s.rewards if r.source.startswith("classifier")} for s in sink.steps]
    assert judges == [{"classifier:first"}] * one.steps + [{"classifier:second"}] * two.steps


def test_drift_and_a_lost_camera_are_said_once_and_shown_as_long_as_they_last():
    said = []
    given = load_classifier(constant_classifier(CAMERAS, 0.0, negative_logits=(-9.0, -5.0), positive_logits=(5.0, 9.0)))
    rewarding = ClassifierRewarding(ClassifierReward(), CONTRACT, given, say=said.append)
    frame = {f.name: np.zeros(f.shape, f.dtype) for f in CONTRACT.stored}

    def judge(observation, count):
        rewarding.begin_episode()
        for step in range(count):
            rewarding.judge(observation, step, GOES_ON, False, False)

    judge(frame, WINDOW - 1)
    assert (said, "DRIFT" in rewarding.doing) == ([], False)
    judge(frame, 1 + EVERY)
    assert len(said) == 1
    assert said[0].startswith(
        f"drift: the scores of classifier {given.version} are no longer like those of its training"
    )
    assert "DRIFT" in rewarding.doing
    judge({name: value for name, value in frame.items() if not name.endswith("wrist")}, 2)
    assert len(said) == 2
    assert said[1].startswith("no success can be seen: the classifier needs 'observation.images.wrist'")
    assert "BLIND" in rewarding.doing


def test_one_classifier_judges_all_of_an_evaluation(env):
    letters = [constant_classifier(CAMERAS, 3.0, name="second")]
    rewarding = ClassifierRewarding(
        ClassifierReward(confirm=1, min_step=0),
        CONTRACT,
        load_classifier(constant_classifier(CAMERAS, -3.0, name="first")),
        lambda: letters.pop() if letters else None,
    )
    runner = EpisodeRunner(env, CONTRACT, Records(), Guard(CONTRACT), LockstepPacer(), rewarding=rewarding)
    evaluated = Plan(Purpose.EVALUATION, 3, 1)
    outcomes = [runner.run(plan, Idle(4), Driven(NoOperator())).outcome for plan in (evaluated, PLAN)]
    assert outcomes == [Outcome.TIMEOUT, Outcome.SUCCESS]


def test_what_keeps_a_high_score_from_being_success_is_shown_and_fits_the_board():
    name = "n" * 200
    given = load_classifier(constant_classifier(CAMERAS, 4.0, name=name, gates=("tool.z>0.06", "gripper.pos<0.6")))
    rewarding = ClassifierRewarding(ClassifierReward(confirm=2, min_step=2), CONTRACT, given)
    frame = {f.name: np.zeros(f.shape, f.dtype) for f in CONTRACT.stored}
    board = Board(create_block(Board.SIZE))

    def shown(step):
        rewarding.judge(frame, step, GOES_ON, False, False)
        board.reward = rewarding.doing
        return board.reward.split(", by n")[0]

    rewarding.begin_episode()
    assert shown(0) == "score 0.982 of 0.500, gate tool.z closed"
    state = next(f for f in CONTRACT.stored if "tool.z" in f.components)
    frame[state.name][state.components.index("tool.z")] = 0.07
    assert shown(0) == "score 0.982 of 0.500, 1 of 2"
    assert shown(1) == "score 0.982 of 0.500, 2 of 2, counts from step 2"
    assert shown(2) == "score 0.982 of 0.500, 2 of 2"


def test_a_classifier_setting_without_a_classifier_says_where_to_get_one():
    with pytest.raises(RewardError, match=r"set reward.model=FOLDER of `tandem reward train`"):
        make_rewarding(ClassifierReward(), CONTRACT)
    with pytest.raises(RewardError, match="name two classifiers"):
        ClassifierReward(model="a", pretrained="b")
    with pytest.raises(RewardError, match=r"reward.model=/nowhere cannot be read"):
        make_rewarding(ClassifierReward(model="/nowhere"), CONTRACT)


def test_keys_after_an_episode_amend_it_once():
    episode = Episode("c" * 32, PLAN, steps=9, outcome=Outcome.SUCCESS)
    amendment = amended(episode, (Event.READY, Event.FAILURE), "person")
    assert (amendment.outcome, amendment.step, amendment.author) == (Outcome.FAILURE, 8, "person")
    assert amended(episode, (Event.FAILURE,), "person") is None
    assert amended(episode, (Event.READY,), "person") is None
    assert amended(episode, (Event.DISCARD,), "person").outcome == Outcome.DISCARDED


def test_actors_pull_each_new_classifier_and_need_no_restart(bench, actor, wait_for):
    run = bench("gym", WITNESS)
    run.publish(0)
    arm = actor(run.port, reward=ClassifierReward(confirm=2, min_step=0), spool_mb=4)
    wait_for(lambda: "waiting for a classifier" in arm.text)
    cameras = cameras_of(run.contract)
    run.publisher.publish_reward("never", constant_classifier(cameras, -5.0, name="never"))
    wait_for(lambda: any(s.truncated for s in run.steps))
    assert not any(s.terminated for s in run.steps)
    run.publisher.publish_reward("always", constant_classifier(cameras, 5.0, name="always"))
    wait_for(lambda: any(s.terminated for s in run.steps))
    pid = arm.process.pid
    sources = {r.source.split("@")[0] for s in run.steps for r in s.rewards}
    assert sources == {"env", "classifier:never", "score:never", "classifier:always", "score:always"}
    ended = next(s for s in run.steps if s.terminated)
    assert step_reward(ended.rewards) == 1.0
    assert arm.process.pid == pid
    assert arm.process.poll() is None
    wait_for(lambda: re.search(r"score 0.993 of 0.500, [12] of 2, by always@", arm.text))
    run.ingest.finish("enough")
    assert arm.end() == 0, arm.text
