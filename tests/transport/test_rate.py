import pytest

from transport.rate import MOST_WAIT_S, Rate, Rates


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_burst_is_free_and_then_turns_come_at_their_rate():
    clock = Clock()
    rate = Rate(10.0, 3, clock)
    assert [rate.wait_s() for _ in range(3)] == [0.0, 0.0, 0.0]
    assert rate.wait_s() == pytest.approx(0.1)
    assert rate.wait_s() == pytest.approx(0.2)
    clock.now = 100.0
    assert [rate.wait_s() for _ in range(3)] == [0.0, 0.0, 0.0]


def test_nobody_waits_for_longer_than_the_most_and_a_flood_leaves_no_debt():
    clock = Clock()
    rate = Rate(10.0, 1, clock)
    waits = [rate.wait_s() for _ in range(1000)]
    assert max(waits) <= MOST_WAIT_S
    clock.now = MOST_WAIT_S
    assert rate.wait_s() <= 0.2


def test_callers_have_rates_of_their_own_and_are_forgotten_in_time(monkeypatch):
    monkeypatch.setattr("transport.rate._MOST_CALLERS", 2)
    rates = Rates(0.001, 1)
    assert rates.wait_s("a") == 0.0
    assert rates.wait_s("a") > 0.0
    assert rates.wait_s("b") == 0.0
    assert rates.wait_s("c") == 0.0
    assert rates.wait_s("a") == 0.0, "forgotten"
