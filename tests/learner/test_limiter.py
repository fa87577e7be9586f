import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.limiter import UpdateLimiter, share_credit


def limiter(utd: float = 2.0, ahead: int = 50, deficit: int = 1000, warmup: int = 100) -> UpdateLimiter:
    return UpdateLimiter(utd, max_ahead=ahead, max_deficit_updates=deficit, warmup_steps=warmup)


@given(
    utd=st.sampled_from([0.25, 0.3, 1.0, 2.0, 20.0]),
    events=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 100)), max_size=60),
)
def test_updates_never_exceed_the_ratio_and_the_deficit_is_bounded(utd, events):
    limit = limiter(utd)
    limit.add_steps(100)
    limit.start()
    for steps, can_do in events:
        limit.add_steps(steps)
        done = min(limit.due(), can_do)
        assert done >= 0
        limit.add_updates(done)
        since = limit.env_steps - limit.started_at
        assert limit.updates <= utd * since + 1e-6
        assert utd * since - limit.updates - limit.dropped <= limit.max_deficit_updates + 1


@given(utd=st.sampled_from([0.3, 1.0, 2.0, 20.0]), speed=st.integers(1, 30))
def test_lockstep_ends_at_the_same_ratio_however_slow_the_learner(utd, speed):
    limit = limiter(utd)
    for _ in range(500):
        if limit.env_steps < limit.steps_allowed:
            limit.add_steps()
        if limit.warm and not limit.started:
            limit.start()
        limit.add_updates(min(limit.due(), speed))
        if limit.started:
            assert limit.env_steps - limit.started_at <= limit.updates / utd + limit.max_ahead + 1
    assert limit.dropped == 0
    assert limit.env_steps > 110


@given(utd=st.floats(0.05, 30), extra=st.integers(0, 3))
def test_lockstep_never_waits_for_an_update_that_is_not_due(utd, extra):
    limit = limiter(utd, ahead=math.ceil(1 / utd) + extra, warmup=0)
    limit.start()
    for _ in range(100):
        limit.add_steps(max(0, limit.steps_allowed - limit.env_steps))
        assert limit.due() >= 1
        limit.add_updates()
    assert limit.dropped == 0


def test_nothing_is_due_before_learning_starts_and_earlier_steps_do_not_count():
    limit = limiter()
    limit.add_steps(99)
    assert not limit.warm
    assert limit.due() == 0
    assert limit.steps_allowed == 150
    limit.add_steps(1)
    assert limit.warm
    limit.start()
    assert limit.due() == 0
    limit.add_steps(3)
    assert limit.due() == 6
    limit.add_updates(6)
    assert limit.ratio == 2.0


def test_what_a_slow_learner_cannot_do_is_dropped_and_counted():
    limit = limiter(deficit=200)
    limit.start()
    limit.add_steps(500)
    assert limit.due() == 200
    assert limit.dropped == 800
    limit.add_updates(200)
    assert limit.due() == 0
    assert limit.steps_allowed == 550


def test_state_comes_back():
    limit = limiter()
    limit.add_steps(120)
    limit.start()
    limit.add_steps(10)
    limit.add_updates(7)
    other = limiter()
    other.load_state(limit.state())
    assert other.state() == limit.state()
    assert other.due() == limit.due() == 13


def test_settings_that_would_drop_in_lockstep_are_refused():
    with pytest.raises(
        ValueError, match=r"max_deficit_updates must be at least max_ahead x utd_ratio = 1000, .* Got: 500"
    ):
        limiter(utd=20.0, deficit=500)
    with pytest.raises(
        ValueError,
        match=r"max_ahead x utd_ratio must be at least 1, .* Got: 9 x 0\.1\. Set learner\.max_ahead to 10 or",
    ):
        limiter(utd=0.1, ahead=9)
    with pytest.raises(ValueError, match=r"utd_ratio must be greater than 0\. Got: 0"):
        limiter(utd=0)


@given(
    allowed=st.integers(0, 10_000),
    steps=st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3000), max_size=6),
    present=st.sets(st.sampled_from("abcdefgh"), min_size=1),
)
def test_credit_never_exceeds_what_is_allowed(allowed, steps, present):
    credit = share_credit(allowed, steps, present)
    assert set(credit) == present
    new = sum(credit[s] - steps.get(s, 0) for s in present)
    assert new == max(0, allowed - sum(steps.values()))
    assert max(credit[s] - steps.get(s, 0) for s in present) - min(credit[s] - steps.get(s, 0) for s in present) <= 1


def test_a_slow_actor_does_not_hold_the_other():
    limit = limiter(utd=1.0, ahead=10, warmup=0)
    limit.start()
    steps = {"slow": 0, "quick": 0}
    for _ in range(400):
        credit = share_credit(limit.steps_allowed, steps, steps)
        if steps["quick"] < credit["quick"]:
            steps["quick"] += 1
            limit.add_steps()
        limit.add_updates(limit.due())
    assert steps == {"slow": 0, "quick": 400}
