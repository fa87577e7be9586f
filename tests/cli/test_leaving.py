"""Ctrl-C while a program starts, at the moments at which a KeyboardInterrupt would be lost."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENDING = """
import os, sys
from cli.leaving import leave_on_signals

class Late:
    def __del__(self):
        os.write(1, b"ending")
        os.read(0, 1)

leave_on_signals()
late = Late()
sys.exit(3)
"""


@pytest.mark.parametrize("library", ["_yaml", "libtorch_cpu"])
def test_ctrl_c_while_a_learner_imports_ends_it_with_one_line(tmp_path, library):
    """At the moment at which the system loads one of its libraries."""
    command = [sys.executable, "-m", "cli.main", "learner", "env=gym", "tracker=none", "learner.address=localhost:0"]
    process = subprocess.Popen(
        [*command, f"run={tmp_path / 'run'}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with process:
        deadline = time.monotonic() + 60
        while library not in Path(f"/proc/{process.pid}/maps").read_text():
            assert process.poll() is None
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert said == "tandem: stopped by Ctrl-C\n"


def test_ctrl_c_while_the_interpreter_ends_leaves_the_exit_code_as_it_is():
    with subprocess.Popen([sys.executable, "-c", ENDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.read(6) == b"ending"
        process.send_signal(signal.SIGINT)
        process.stdin.close()
    assert process.returncode == 3


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_what_stopped_a_program_is_named(number, name):
    code = "import sys; from cli.leaving import leave_on_signals; leave_on_signals(); print(1, flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) as process:
        process.stdout.readline()
        process.send_signal(number)
        assert process.communicate(timeout=60)[1] == f"tandem: stopped by {name}\n"
    assert process.returncode == 130
