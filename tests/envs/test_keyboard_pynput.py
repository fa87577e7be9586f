"""The keyboard on a real X server (Xvfb, xdotool)."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from envs.teleop.device_state import DeviceState
from envs.teleop.keyboard import open_keyboard
from envs.teleop.keyboard_pynput import PynputKeyboard
from envs.teleop.operator import Event


def wait_for(keyboard, condition: Callable[[DeviceState], bool], seconds: float = 5.0) -> DeviceState:
    deadline = time.monotonic() + seconds
    while True:
        state = keyboard.snapshot()
        if condition(state):
            return state
        assert time.monotonic() < deadline, state
        time.sleep(0.005)


needs_x11 = pytest.mark.skipif(
    not (shutil.which("Xvfb") and shutil.which("xdotool")),
    reason="needs Xvfb and xdotool: apt-get install xvfb xdotool",
)


@pytest.fixture
def desktop(monkeypatch) -> Iterator[Callable[..., str]]:
    """A real X server; the fixture runs xdotool in it."""
    out, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "320x240x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(out) as numbers:
        monkeypatch.setenv("DISPLAY", f":{numbers.readline().strip()}")
    for name in ("SSH_CONNECTION", "SSH_TTY", "WAYLAND_DISPLAY", "XDG_SESSION_TYPE", "WINDOWID"):
        monkeypatch.delenv(name, raising=False)

    def xdotool(*arguments: str) -> str:
        return subprocess.run(["xdotool", *arguments], check=True, capture_output=True, text=True).stdout

    xdotool.server = server
    yield xdotool
    server.terminate()
    server.wait()


@pytest.fixture
def keyboard(desktop) -> Iterator[PynputKeyboard]:
    listener = PynputKeyboard()
    listener.start()
    yield listener
    listener.stop()


@needs_x11
class TestPynput:
    def test_keys_do_not_count_until_armed(self, desktop, keyboard) -> None:
        desktop("key", "w", "space", "Return")
        time.sleep(0.2)
        state = keyboard.snapshot()
        assert (state.armed, state.intervening, state.events, state.presses.sum()) == (False, False, (), 0)
        assert state.reason == "press F8 to turn the keyboard on"
        desktop("key", "F8")
        wait_for(keyboard, lambda s: s.armed)
        desktop("key", "Return")
        assert wait_for(keyboard, lambda s: bool(s.events)).events == (Event.SUCCESS,)
        desktop("key", "F8")
        wait_for(keyboard, lambda s: not s.armed)
        desktop("key", "Return")
        time.sleep(0.2)
        assert keyboard.snapshot().events == ()

    def test_tap_of_12_ms_between_two_polls_at_10_hz_counts(self, desktop, keyboard) -> None:
        desktop("key", "F8")
        wait_for(keyboard, lambda s: s.armed)
        keyboard.snapshot()
        desktop("keydown", "Up", "sleep", "0.012", "keyup", "Up", "key", "BackSpace")
        time.sleep(0.1)
        state = keyboard.snapshot()
        assert (state.held[:3] == 0).all()
        assert state.action[:3].tolist() == [0.5, 0.0, 0.0]
        assert state.events == (Event.INTERVENE, Event.FAILURE)

    def test_held_key_moves_until_released_and_stops_when_disarmed(self, desktop, keyboard) -> None:
        desktop("key", "F8")
        wait_for(keyboard, lambda s: s.armed)
        desktop("keydown", "a", "sleep", "0.9")
        state = keyboard.snapshot()
        assert state.held[1] == 0.5
        assert state.presses.sum() == 1
        desktop("key", "F8")
        assert wait_for(keyboard, lambda s: not s.armed).held[1] == 0
        desktop("keyup", "a")

    def test_keys_with_a_modifier_do_not_count(self, desktop, keyboard) -> None:
        desktop("key", "F8")
        wait_for(keyboard, lambda s: s.armed)
        desktop("key", "ctrl+c", "alt+x", "g")
        assert wait_for(keyboard, lambda s: bool(s.events)).events == (Event.READY,)
        assert np.isnan(keyboard.snapshot().action[3])

    def test_keys_count_only_while_the_own_window_has_the_focus(self, desktop) -> None:
        from Xlib import X
        from Xlib.display import Display

        display = Display()
        root = display.screen().root
        own, other = (root.create_window(0, 0, 50, 50, 0, X.CopyFromParent) for _ in range(2))
        part = own.create_window(0, 0, 10, 10, 0, X.CopyFromParent)
        for window in (own, other, part):
            window.map()
        display.sync()

        def focus(window) -> None:
            window.set_input_focus(X.RevertToParent, X.CurrentTime)
            display.sync()

        focus(other)
        keyboard = PynputKeyboard({"WINDOWID": str(own.id)})
        keyboard.start()
        try:
            assert "keys count while this terminal has the focus" in keyboard.description
            desktop("key", "Return")
            time.sleep(0.2)
            state = keyboard.snapshot()
            assert (state.armed, state.events) == (False, ())
            assert "another window has the focus" in state.reason
            focus(part)
            desktop("key", "Return")
            assert wait_for(keyboard, lambda s: bool(s.events)).events == (Event.SUCCESS,)
            desktop("keydown", "w")
            wait_for(keyboard, lambda s: s.held[0] == 0.5)
            focus(other)
            assert wait_for(keyboard, lambda s: not s.armed).held[0] == 0
            desktop("keyup", "w", "key", "F8", "Return")
            assert wait_for(keyboard, lambda s: Event.SUCCESS in s.events).armed
        finally:
            keyboard.stop()
            display.close()

    def test_desktop_that_goes_away_is_lost(self, desktop, keyboard) -> None:
        desktop("key", "F8")
        wait_for(keyboard, lambda s: s.armed)
        desktop("keydown", "w")
        wait_for(keyboard, lambda s: s.held[0] == 0.5)
        desktop.server.terminate()
        state = wait_for(keyboard, lambda s: s.lost)
        assert (state.action[:3] == 0).all()
        assert state.intervening
        assert not state.armed
        assert state.reason

    def test_auto_takes_it_and_says_so(self, desktop) -> None:
        said: list[str] = []
        keyboard = open_keyboard("auto", said.append)
        keyboard.stop()
        assert len(said) == 1
        assert said[0].startswith("keyboard: pynput, F8 turns it on and off.")


def test_pynput_without_a_desktop_says_why() -> None:
    script = "from envs.teleop.keyboard import open_keyboard; open_keyboard('pynput')"
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    out = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert "KeyboardError: pynput cannot listen to a desktop here" in out.stderr
