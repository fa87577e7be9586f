"""The keyboard on real terminals (pty) and a real X server (Xvfb, xdotool)."""

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from envs.teleop.device_state import DeviceState, TapReader
from envs.teleop.key_latch import KeyLatch
from envs.teleop.keyboard import KeyboardError, open_keyboard, terminal_reason
from envs.teleop.keyboard_pynput import PynputKeyboard
from envs.teleop.keyboard_terminal import HOLD_S, TerminalKeyboard, keys_of
from envs.teleop.keys import EVENTS, GRIPPER, MOTION, SPEEDS, TAKE_OVER
from envs.teleop.operator import Event


def read(latch: KeyLatch) -> DeviceState:
    return latch.snapshot(armed=True, lost=False)


def wait_for(keyboard, condition: Callable[[DeviceState], bool], seconds: float = 5.0) -> DeviceState:
    deadline = time.monotonic() + seconds
    while True:
        state = keyboard.snapshot()
        if condition(state):
            return state
        assert time.monotonic() < deadline, state
        time.sleep(0.005)


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


@pytest.mark.parametrize(
    ("environment", "platform", "reason"),
    [
        ({"DISPLAY": ":0"}, "linux", ""),
        ({}, "linux", "there is no DISPLAY"),
        ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}, "linux", "Wayland"),
        ({"DISPLAY": ":0", "XDG_SESSION_TYPE": "wayland"}, "linux", "Wayland"),
        ({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "1 2 3 4"}, "linux", "over SSH"),
        ({}, "darwin", ""),
    ],
)
def test_auto_takes_the_terminal_where_no_global_listener_can_work(environment, platform, reason) -> None:
    found = terminal_reason(environment, platform)
    assert found.startswith(reason) if reason else found == ""


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(KeyboardError, match=r"must be one of \['auto', 'pynput', 'terminal'\]\. Got: 'gamepad'"):
        open_keyboard("gamepad")


def test_terminal_bytes_are_keys() -> None:
    assert keys_of(b"w\x1b[A\x1bOD\x1b[5~ \r\x7fQ\x1b[15~!") == (
        ["w", "up", "left", "page_up", "space", "enter", "backspace", "q"],
        b"",
    )
    assert keys_of(b"\x1bwa\x17") == (["a"], b"")  # Alt-W, A, Ctrl-W
    keys, rest = keys_of(b"\x1b[")
    assert keys_of(rest + b"B") == (["down"], b"")
    assert keys == []


class TestTerminal:
    @pytest.fixture
    def terminal(self) -> Iterator[tuple[int, int]]:
        ends = os.openpty()
        yield ends
        for fd in ends:
            with contextlib.suppress(OSError):
                os.close(fd)

    def test_standard_input_must_be_a_terminal(self) -> None:
        script = "from envs.teleop.keyboard import open_keyboard; open_keyboard('terminal')"
        out = subprocess.run([sys.executable, "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert "standard input is not a terminal. Start it in a terminal" in out.stderr

    def test_terminal_of_another_program_is_refused(self, terminal) -> None:
        with pytest.raises(KeyboardError, match="needs the terminal's foreground"):
            TerminalKeyboard(terminal[1]).start()


CHILD = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from envs.teleop.keyboard import open_keyboard
keyboard = open_keyboard(sys.argv[1])
print("ready", flush=True)
end = time.monotonic() + 8
while time.monotonic() < end:
    s = keyboard.snapshot()
    moved = s.action[:3].any()
    if s.events or moved or s.lost:
        print(time.monotonic(), [e.value for e in s.events], s.action.tolist(), s.lost, s.reason, flush=True)
    if s.lost or (s.events and s.events[-1].value == "stop"):
        break
    if s.events and s.events[-1].value == "discard":
        raise SystemError("crash")
    time.sleep(0.02)
if not s.lost:
    keyboard.stop()
print("end", s.lost, s.reason, flush=True)
"""


class Session:
    """A program in a terminal of its own, as a shell would start it; its output goes to a pipe."""

    def __init__(self) -> None:
        out, self._write = os.pipe()
        self.output = os.fdopen(out, "r")
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            os.dup2(self._write, 1)
            os.execve(sys.executable, [sys.executable, "-c", CHILD, "auto"], {"PATH": os.environ["PATH"]})
        os.close(self._write)
        self.attached = True
        self.announced = self.output.readline()
        assert self.output.readline() == "ready\n", self.announced

    def type(self, keys: bytes) -> None:
        os.write(self.terminal, keys)

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.terminal)[3] & termios.ECHO)

    def lines(self) -> list[str]:
        return self.output.read().splitlines()

    def close(self) -> None:
        self.hang_up()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.output.close()

    def hang_up(self) -> None:
        if self.attached:
            self.attached = False
            os.close(self.terminal)


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session()
    yield session
    session.close()


class TestProgramInATerminal:
    def test_selection_is_stated_and_keys_arrive(self, session) -> None:
        assert session.announced.startswith("keyboard: keys typed into this terminal (there is no DISPLAY)")
        assert not session.echoes()
        session.type(b"w")
        session.type(b"\r")
        session.type(b"q")
        lines = session.lines()
        events = "".join(line.split("[")[1].split("]")[0] for line in lines[:-1])
        assert events.replace("'", "").replace(",", "").split() != []
        for event in ("intervene", "success", "stop"):
            assert event in events
        assert lines[-1] == "end False "
        assert session.echoes()

    def test_one_press_moves_for_the_stated_time(self, session) -> None:
        session.type(b"w")
        time.sleep(2 * HOLD_S)
        session.type(b"q")
        times = [float(line.split()[0]) for line in session.lines()[:-1] if "[0.5, 0.0, 0.0" in line]
        assert 0.5 * HOLD_S < times[-1] - times[0] < 2 * HOLD_S

    def test_held_space_takes_over_once(self, session) -> None:
        for _ in range(8):
            session.type(b" ")
            time.sleep(0.03)
        session.type(b"q")
        text = " ".join(session.lines())
        assert (text.count("intervene"), text.count("release")) == (1, 0)

    def test_hang_up_is_reported_as_lost(self, session) -> None:
        session.type(b"w")
        session.hang_up()
        assert session.lines()[-1].startswith("end True the terminal is gone")

    @pytest.mark.parametrize("how", ["crash", "terminate", "interrupt"])
    def test_terminal_is_restored_however_it_ends(self, session, how) -> None:
        assert not session.echoes()
        if how == "crash":
            session.type(b"x")
        elif how == "terminate":
            os.kill(session.pid, signal.SIGTERM)
        else:
            session.type(b"\x03")
        session.lines()
        assert session.echoes()


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
