"""Absolute deadlines, with a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor.pacing import LockstepPacer, RealtimePacer


class Clock:
    """Time moves only by ``sleep`` and ``work``; a sleep ends late by ``late_s``."""

    def __init__(self, late_s=0.0):
        self.now = 100.0
        self.late_s = late_s

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds + self.late_s

    work = sleep


def test_late_wake_ups_never_add_up():
    clock = Clock(late_s=0.003)
    pacer = RealtimePacer(10, clock=clock, sleep=clock.sleep)
    begun = []
    for _ in range(50):
        error_ms = pacer.wait()
        assert error_ms <= 3.001
        begun.append(clock.now)
        clock.now += 0.02
    assert begun[-1] - begun[0] == pytest.approx(4.9, abs=0.0031)
    assert (pacer.overruns, pacer.skipped) == (0, 0)


def test_a_missed_deadline_is_skipped_not_caught_up():
    clock = Clock()
    pacer = RealtimePacer(10, clock=clock, sleep=clock.sleep)
    pacer.wait()
    clock.now += 0.35
    assert pacer.wait() == pytest.approx(50)
    assert (pacer.overruns, pacer.skipped) == (1, 2)
    pacer.wait()
    assert clock.now == pytest.approx(100.4)


@given(works=st.lists(st.floats(0.0, 0.5), min_size=1, max_size=50))
def test_every_step_begins_within_a_period_of_its_deadline(works):
    clock = Clock()
    pacer = RealtimePacer(10, clock=clock, sleep=clock.sleep)
    for work in works:
        assert -1e-6 <= pacer.wait() < 100.001
        assert (clock.now - 100.0) / 0.1 >= pacer._count - 1e-6
        clock.now += work
    assert pacer.skipped + len(works) == pacer._count + 1


def test_there_is_time_for_something_else_but_not_right_before_the_deadline():
    clock = Clock()
    pacer = RealtimePacer(10, clock=clock, sleep=clock.sleep)
    left = []

    def meanwhile(left_s):
        left.append(pacer._deadline - clock.now)
        clock.work(0.02)

    for _ in range(3):
        assert pacer.wait(meanwhile) == pytest.approx(0, abs=10.001)
    assert len(left) >= 6
    assert min(left) >= 0.01
    clock.work(0.095)
    busy = len(left)
    pacer.wait(meanwhile)
    assert len(left) == busy


def test_waiting_for_a_person_is_no_overrun():
    clock = Clock()
    pacer = RealtimePacer(10, clock=clock, sleep=clock.sleep)
    pacer.wait()
    clock.now += 60
    pacer.restart()
    assert pacer.wait() == pytest.approx(0)
    assert (pacer.overruns, pacer.skipped) == (0, 0)
    assert pacer.errors_ms[1] == pytest.approx(0)


def test_lockstep_has_no_clock():
    assert LockstepPacer().wait() == 0.0


def test_a_rate_is_needed():
    with pytest.raises(ValueError, match=r"needs a control rate above 0 Hz. Got: 0"):
        RealtimePacer(0)
