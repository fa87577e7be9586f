"""The time from publication to acting, by a clock of the test's own."""

import pytest

from learner.acting_lag import ActingLag
from metrics import names


class Clock:
    now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture
def lag():
    clock = Clock()
    made = ActingLag(clock)
    made.clock = clock
    return made


def p50(lag):
    return lag.metrics().get(names.PUBLISH_TO_ACTING_MS_P50)


def test_nothing_is_said_before_a_version_was_seen_to_take_over(lag):
    lag.published(0)
    lag.clock.now += 60
    lag.acted("a", 0)  # joined a minute after version 0: no delay of the policy stream
    assert lag.metrics() == {}
    lag.published(1)
    lag.clock.now += 0.02
    lag.acted("a", 0)
    assert lag.metrics() == {}


def test_the_first_step_of_each_version_and_actor_counts(lag):
    for spool in "ab":
        lag.acted(spool, 0)
    lag.published(3)
    lag.clock.now += 0.04
    lag.acted("a", 3)
    assert p50(lag) == pytest.approx(40)
    lag.clock.now += 10
    lag.acted("a", 3)
    assert p50(lag) == pytest.approx(40)
    lag.clock.now += 0.08
    lag.acted("b", 3)
    assert lag.metrics()[names.PUBLISH_TO_ACTING_MS_P99] == pytest.approx(10120, rel=0.02)


def test_a_version_of_an_earlier_process_has_no_time(lag):
    lag.acted("a", 0)
    lag.acted("a", 8)
    assert lag.metrics() == {}
