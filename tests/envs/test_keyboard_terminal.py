"""The keyboard on real terminals (pty)."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from envs.teleop.keyboard import KeyboardError
from envs.teleop.keyboard_terminal import HOLD_S, TerminalKeyboard, keys_of


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
