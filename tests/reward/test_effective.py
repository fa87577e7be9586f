import numpy as np
import pytest

from episodes.outcome import Outcome
from reward.effective import (
    Verdict,
    effective,
    final_outcome,
    recorded_outcome,
    step_reward,
    verdict_of_amendment,
    verdict_of_end,
)
from transport import records_pb2 as pb


def rewards(**sources):
    return [pb.Reward(source=source.replace("_", ":"), value=value) for source, value in sources.items()]


@pytest.mark.parametrize(
    ("sources", "value"),
    [
        ({}, 0.0),
        ({"env": 0.25}, 0.25),
        ({"classifier_v3": 1.0, "env": 0.25}, 1.0),
        ({"person": 0.0, "classifier_v3": 1.0, "env": 0.25}, 0.0),
        ({"env": 0.25, "person": 0.5}, 0.5),
        ({"classifier_v3": 0.0, "classifier_v4": 1.0}, 1.0),
        ({"env": 0.25, "someone": 9.0}, 0.25),
        ({"someone": 9.0}, 9.0),
    ],
)
def test_reward_of_a_step_comes_from_the_highest_source(sources, value):
    assert step_reward(rewards(**sources)) == value


def episode(*, success=False, steps=4):
    reward, ended = np.zeros(steps, np.float32), np.zeros(steps, bool)
    ended[-1] = True
    reward[-1] = success
    none = np.zeros(steps, bool)
    return (reward, ended, none) if success else (reward, none, ended)


def test_without_a_verdict_everything_stays_as_recorded():
    result = effective(*episode(success=True), recorded=Outcome.SUCCESS)
    assert result.reward.tolist() == [0, 0, 0, 1]
    assert result.terminated.tolist() == [False, False, False, True]
    assert not result.truncated.any()
    assert result.sampled.all()


def test_success_to_failure_has_reward_0_and_is_truncated():
    result = effective(*episode(success=True), recorded=Outcome.SUCCESS, verdict=Verdict(Outcome.FAILURE))
    assert not result.reward.any()
    assert not result.terminated.any()
    assert result.sampled.all()
    assert result.truncated.tolist() == [False, False, False, True]


@pytest.mark.parametrize("recorded", [Outcome.TIMEOUT, Outcome.FAILURE, Outcome.CUT])
def test_anything_else_to_failure_stays_as_recorded(recorded):
    reward, truncated, terminated = episode()
    result = effective(reward + 0.5, terminated, truncated, recorded=recorded, verdict=Verdict(Outcome.FAILURE))
    assert result.reward.tolist() == [0.5] * 4
    assert result.terminated.tolist() == terminated.tolist()
    assert result.truncated.tolist() == truncated.tolist()


@pytest.mark.parametrize("recorded", [Outcome.TIMEOUT, Outcome.FAILURE, Outcome.SUCCESS, None])
def test_success_terminates_at_the_named_step_and_later_steps_leave(recorded):
    result = effective(
        *episode(success=recorded is Outcome.SUCCESS), recorded=recorded, verdict=Verdict(Outcome.SUCCESS, 1)
    )
    assert result.reward[:2].tolist() == [0, 1]
    assert result.terminated[:2].tolist() == [False, True]
    assert not result.truncated[:2].any()
    assert result.sampled.tolist() == [True, True, False, False]


@pytest.mark.parametrize("step", [None, 3, 7])
def test_success_without_a_step_or_beyond_the_end_is_at_the_last_step(step):
    result = effective(*episode(), recorded=Outcome.TIMEOUT, verdict=Verdict(Outcome.SUCCESS, step))
    assert result.reward.tolist() == [0, 0, 0, 1]
    assert result.sampled.all()
    assert result.terminated[3]
    assert not result.truncated[3]


def test_success_at_a_step_still_to_come_waits_for_it():
    result = effective(*episode(), recorded=None, verdict=Verdict(Outcome.SUCCESS, 7))
    assert not result.reward.any()
    assert result.sampled.all()


def test_success_before_what_is_kept_leaves_nothing():
    result = effective(*episode(), recorded=Outcome.TIMEOUT, verdict=Verdict(Outcome.SUCCESS, -1))
    assert not result.sampled.any()
    assert not result.terminated.any()
    assert not result.reward.any()


def test_discarded_leaves_nothing():
    assert not effective(*episode(), recorded=None, verdict=Verdict(Outcome.DISCARDED)).sampled.any()


def test_arguments_are_not_changed():
    reward, terminated, truncated = episode(success=True)
    effective(reward, terminated, truncated, recorded=Outcome.SUCCESS, verdict=Verdict(Outcome.FAILURE))
    assert reward[-1] == 1
    assert terminated[-1]
    assert not truncated[-1]


def test_an_episode_without_steps():
    empty = np.zeros(0)
    result = effective(empty, empty, empty, recorded=Outcome.CUT, verdict=Verdict(Outcome.SUCCESS, 0))
    assert result.reward.shape == (0,)


@pytest.mark.parametrize(
    ("outcome", "author", "verdict"),
    [
        (Outcome.SUCCESS, "env", None),
        (Outcome.FAILURE, "env", None),
        (Outcome.TIMEOUT, "person", None),
        (Outcome.CUT, "actor", None),
        (Outcome.DISCARDED, "actor", Verdict(Outcome.DISCARDED)),
        (Outcome.SUCCESS, "person", Verdict(Outcome.SUCCESS)),
        (Outcome.FAILURE, "operator", Verdict(Outcome.FAILURE)),
        (0, "person", None),
        (99, "person", None),
    ],
)
def test_an_end_is_a_verdict_when_a_person_gives_it(outcome, author, verdict):
    assert verdict_of_end(pb.EpisodeEnd(outcome=outcome, author=author)) == verdict


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Outcome.SUCCESS, Verdict(Outcome.SUCCESS, 3)),
        (Outcome.FAILURE, Verdict(Outcome.FAILURE)),
        (Outcome.DISCARDED, Verdict(Outcome.DISCARDED)),
        (Outcome.TIMEOUT, None),
        (0, None),
    ],
)
def test_verdict_of_an_amendment(outcome, verdict):
    assert verdict_of_amendment(pb.Amendment(outcome=outcome, step=3)) == verdict


def test_a_person_may_end_as_a_failure_what_the_environment_called_a_success():
    end = pb.EpisodeEnd(outcome=Outcome.FAILURE, author="person")
    assert recorded_outcome(end, terminated=True, reward=1.0) is Outcome.SUCCESS
    assert recorded_outcome(end, terminated=False, reward=1.0) is Outcome.FAILURE
    assert recorded_outcome(pb.EpisodeEnd(outcome=Outcome.FAILURE, author="env"), True, 1.0) is Outcome.FAILURE
    assert recorded_outcome(pb.EpisodeEnd(), True, 1.0) is Outcome.CUT


def test_final_outcome_is_the_last_word():
    assert final_outcome(Outcome.TIMEOUT, None) is Outcome.TIMEOUT
    assert final_outcome(Outcome.TIMEOUT, Verdict(Outcome.SUCCESS, 2)) is Outcome.SUCCESS
