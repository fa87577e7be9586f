"""Programs of a demo: started, watched, stopped together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.children import Child, stop_all
from cli.parent import PARENT_PIPE
from cli.training import free_port, last_doing, last_line

VALID = ["learner", "learner.address=none"]
"""Settings that the learner refuses only when it listens."""
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def actor(tmp_path, monkeypatch):
    """An actor that waits for a learner which is not there."""
    monkeypatch.setenv("TANDEM_TOKEN", TOKEN)
    arguments = ["actor", f"learner.address=127.0.0.1:{free_port()}", f"actor.spool={tmp_path / 'spool'}"]
    child = Child("actor", arguments, tmp_path / "actor.log")
    yield child
    if child.exit_code is None:
        child.kill()
    child.close()


def wait_for(text, child):
    deadline = time.monotonic() + 60
    while text not in child.tail() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert text in child.tail()


def test_a_waiting_actor_says_so_and_stops_on_ctrl_c(actor):
    wait_for("waiting for a learner: nobody answers at", actor)
    assert stop_all([actor], grace_s=60) == []
    assert actor.exit_code == 130
    assert "Traceback" not in actor.tail(100)


def test_what_does_not_stop_is_killed(actor):
    wait_for("waiting for a learner: nobody answers at", actor)
    os.kill(actor._process.pid, signal.SIGSTOP)
    assert stop_all([actor], grace_s=0.2) == ["actor"]
    assert actor.exit_code == -signal.SIGKILL


def test_a_child_ends_when_its_parent_is_gone(actor):
    wait_for("waiting for a learner: nobody answers at", actor)
    actor._process.stdin.close()  # as the system does when the parent dies
    assert actor.wait(60) == 130
    assert "Traceback" not in actor.tail(100)


def test_a_standby_ends_when_its_parent_is_gone(tmp_path):
    child = Child("learner", VALID, tmp_path / "learner.log", after=tmp_path / "demonstrations")
    child.close()
    assert child.wait(60) == 130
    assert child.tail() == ""


def test_what_hangs_when_its_parent_is_gone_is_killed_with_its_group():
    code = "import cli.parent, signal, subprocess, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
    code += "subprocess.Popen(['sleep', '60']); cli.parent.GRACE_S = 0.2; cli.parent.end_with_parent(); time.sleep(60)"
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, PARENT_PIPE: "stdin"},
        process_group=0,
    )
    child.stdin.close()
    assert child.wait(60) == -signal.SIGKILL
    assert child.stdout.read() == b""  # returns when the last that holds it, sleep, is gone
    child.stdout.close()


def test_ctrl_c_of_the_terminal_reaches_a_child_only_once(actor):
    assert os.getpgid(actor._process.pid) != os.getpgid(0)


def test_output_goes_to_the_log_after_the_command(tmp_path):
    child = Child("learner", ["learner", "sed=1"], tmp_path / "learner.log")
    assert child.wait(60) == 2
    assert child.log.read_text().startswith("$ tandem learner sed=1\n")
    assert child.tail() == "tandem: unknown key 'sed'. Did you mean 'seed'? `tandem learner --help` lists all keys"
    child.close()


def test_standby_waits_for_the_file_and_ends_on_ctrl_c(tmp_path):
    child = Child("learner", VALID, tmp_path / "learner.log", after=tmp_path / "demonstrations")
    assert child.wait(1.0) is None
    (tmp_path / "demonstrations").touch()
    assert child.wait(60) == 1
    assert child.tail().startswith("tandem: address must be HOST:PORT")
    child.close()
    child = Child("learner", VALID, tmp_path / "learner.log", after=tmp_path / "other")
    imported = Path(f"/proc/{child._process.pid}/maps")
    deadline = time.monotonic() + 60
    while "/cv2/" not in imported.read_text():  # the last library that it imports before it waits
        assert time.monotonic() < deadline, child.tail()
        time.sleep(0.05)
    assert stop_all([child], grace_s=60) == []
    assert child.exit_code == 130
    assert child.tail() == ""


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("sed=1", 2, "unknown key 'sed'"),
        ("algorithm.encoder=resnet", 1, "algorithm.encoder must be one of small,"),
        ("learner.device=mps", 1, "learner.device=mps, and torch finds no MPS device"),
        ("policy.pretrained=none", 1, "none"),
    ],
)
def test_standby_does_not_wait_with_settings_that_are_refused(tmp_path, word, code, said):
    words = ["learner", f"run={tmp_path / 'run'}", word]
    child = Child("learner", words, tmp_path / "learner.log", after=tmp_path / "demonstrations")
    assert child.wait(60) == code
    assert child.tail().startswith("tandem: ")
    assert said in child.tail()
    child.close()
    assert not (tmp_path / "run").exists()


def test_last_line_and_what_the_operator_does(tmp_path):
    log = tmp_path / "actor.log"
    log.write_text("actor: state running, steps with evaluations 3, operator closing the gripper\nactor: sta")
    assert last_line(log) == "actor: state running, steps with evaluations 3, operator closing the gripper"
    assert last_doing(log) == "closing the gripper"
    log.write_text("actor: state waiting for you, steps with evaluations 3\n")
    assert last_doing(log) == "waiting for you"
    log.write_text("")
    assert last_doing(log) == ""
