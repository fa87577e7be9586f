"""The Wilson interval against published values and against its definition."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.wilson import Z_95, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_values(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_bounds_solve_the_score_equation(case):
    successes, trials = case
    p = successes / trials
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= p <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            assert abs(p - bound) == pytest.approx(Z_95 * math.sqrt(bound * (1 - bound) / trials), abs=1e-9)


def test_nothing_known_without_trials():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError, match=r"successes must lie in \[0, 5\]. Got: 6"):
        wilson_interval(6, 5)
