"""Keys pressed and released between two readings."""

import numpy as np

from envs.teleop.device_state import DeviceState, TapReader
from envs.teleop.key_latch import KeyLatch
from envs.teleop.keys import EVENTS, GRIPPER, MOTION, SPEEDS, TAKE_OVER
from envs.teleop.operator import Event


def read(latch: KeyLatch) -> DeviceState:
    return latch.snapshot(armed=True, lost=False)


class TestKeyLatch:
    def test_press_between_two_readings_counts_once(self) -> None:
        latch = KeyLatch()
        latch.press("w")
        latch.release("w")
        state = read(latch)
        assert state.action[:3].tolist() == [0.5, 0.0, 0.0]
        assert (state.held[:3] == 0).all()
        assert state.intervening
        assert state.events == (Event.INTERVENE,)
        after = read(latch)
        assert (after.action[:3] == 0).all()
        assert after.events == ()
        assert after.intervening

    def test_held_key_counts_in_every_reading_and_repeats_change_nothing(self) -> None:
        latch = KeyLatch()
        for _ in range(5):
            latch.press("a")
        assert [read(latch).action[1] for _ in range(3)] == [0.5] * 3
        assert read(latch).presses.sum() == 1
        latch.release("a")
        assert read(latch).action[1] == 0

    def test_opposite_keys_cancel_and_two_keys_of_one_direction_are_one(self) -> None:
        latch = KeyLatch()
        latch.press("w")
        latch.press("up")
        assert read(latch).action[0] == 0.5
        latch.press("s")
        latch.press("down")
        assert read(latch).action[0] == 0

    def test_only_space_hands_back_and_the_gripper_is_then_unsaid(self) -> None:
        latch = KeyLatch()
        assert np.isnan(read(latch).action[3])
        latch.press("c")
        latch.release("c")
        assert read(latch).action[3] == -1
        assert read(latch).action[3] == -1
        latch.press("space")
        state = read(latch)
        assert not state.intervening
        assert state.events == (Event.RELEASE,)
        assert np.isnan(state.action[3])
        latch.release("space")
        latch.press("space")
        assert read(latch).events == (Event.INTERVENE,)

    def test_events_keep_their_order_and_none_is_lost(self) -> None:
        latch = KeyLatch()
        for key in ("p", "g", "enter", "g", "backspace", "x", "z", "q"):
            latch.press(key)
            latch.release(key)
        assert read(latch).events == (
            Event.PAUSE,
            Event.READY,
            Event.SUCCESS,
            Event.READY,
            Event.FAILURE,
            Event.DISCARD,
            Event.RERECORD,
            Event.STOP,
        )

    def test_lost_device_moves_nothing_and_the_person_stays_in_control(self) -> None:
        latch = KeyLatch()
        latch.press("r")
        state = latch.snapshot(armed=False, lost=True, reason="unplugged")
        assert state.lost
        assert (state.action[:3] == 0).all()
        assert state.intervening

    def test_no_key_has_two_meanings(self) -> None:
        keys = [*MOTION, *GRIPPER, *EVENTS, *SPEEDS, TAKE_OVER]
        assert len(keys) == len(set(keys))


def test_slower_reader_loses_no_tap_and_counts_none_twice() -> None:
    latch, reader = KeyLatch(), TapReader()
    state = read(latch)
    assert (reader.action(state.held, state.presses, state.speed)[:3] == 0).all()
    latch.press("d")
    latch.release("d")
    for _ in range(10):
        state = read(latch)
    assert reader.action(state.held, state.presses, state.speed)[1] == -0.5
    state = read(latch)
    assert reader.action(state.held, state.presses, state.speed)[1] == 0
