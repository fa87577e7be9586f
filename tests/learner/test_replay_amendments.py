"""Outcomes that come after the steps: at the end of an episode, from a person, or amended later."""

import pytest

from episodes.outcome import Outcome
from tests.learner.replay_entries import (
    GAMMA,
    amend,
    buffer,
    end,
    episode,
    start,
    step,
    windows,
)


@pytest.mark.parametrize("ended", [True, False])
def test_amended_success_terminates_at_the_named_step(ended):
    replay = buffer()
    start(replay, "a")
    for i in range(5):
        step(replay, "a", i)
    if ended:
        end(replay, "a")
    amend(replay, "a", Outcome.SUCCESS, at=2)
    step(replay, "a", 5)
    assert windows(replay) == {0.0: [3, 0.25, 0.0, 3.0], 1.0: [2, 0.5, 0.0, 3.0], 2.0: [1, 1.0, 0.0, 3.0]}


def test_amended_failure_has_reward_0_and_bootstraps():
    replay = buffer()
    episode(replay, "a", 2, outcome=Outcome.SUCCESS)
    amend(replay, "a", Outcome.FAILURE)
    assert windows(replay) == {0.0: [2, 0.0, GAMMA**2, 2.0], 1.0: [1, 0.0, GAMMA, 2.0]}


def test_last_word_wins_and_is_said_of_what_was_recorded():
    replay = buffer()
    episode(replay, "a", 4, outcome=Outcome.SUCCESS)
    recorded = windows(replay)
    for outcome, at, left in (
        (Outcome.DISCARDED, 0, []),
        (Outcome.SUCCESS, 1, [0, 1]),
        (Outcome.FAILURE, 0, [0, 1, 2, 3]),
        (Outcome.DISCARDED, 0, []),
        (Outcome.SUCCESS, 3, [0, 1, 2, 3]),
    ):
        amend(replay, "a", outcome, at)
        assert sorted(windows(replay)) == left
    assert windows(replay) == recorded


def test_discarded_at_its_end_is_never_drawn():
    replay = buffer()
    episode(replay, "a", 3, human=(1,), outcome=Outcome.DISCARDED)
    assert replay.online_size == replay.demonstration_size == 0


def test_person_ends_an_episode():
    replay = buffer()
    for name, first, outcome in (("a", 0, Outcome.SUCCESS), ("b", 100, Outcome.FAILURE)):
        start(replay, name, first=first)
        step(replay, name, 0, first=first)
        end(replay, name, outcome, "person")
    assert windows(replay) == {0.0: [1, 1.0, 0.0, 1.0], 100.0: [1, 0.0, GAMMA, 101.0]}


def test_amendment_of_an_unknown_or_evicted_episode_is_counted_and_harmless():
    replay = buffer(12)
    amend(replay, "never", Outcome.SUCCESS)
    for i in range(5):
        episode(replay, f"{i}", 4, first=10 * i)
    before = windows(replay)
    amend(replay, "0", Outcome.DISCARDED)
    assert windows(replay) == before
    assert replay.counts["unknown_amendments"] == 2
