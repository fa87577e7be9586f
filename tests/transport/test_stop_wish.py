"""Which signals are a second wish."""

from transport.stop_wish import StopWish


def test_signals_in_a_moment_are_one_wish_and_one_a_second_later_is_another():
    times = iter([10.0, 10.0, 10.1, 10.6, 11.0, 11.1])
    wish = StopWish(clock=lambda: next(times))
    assert [wish.again() for _ in range(6)] == [False, False, False, False, True, True]
