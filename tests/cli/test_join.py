"""A learner on every address of the machine, and an actor started with the very line it prints."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from transport.token import load_or_create_token

pytest.importorskip("cryptography")


@pytest.fixture
def program(tmp_path):
    """Starts `tandem` with a HOME of its own; its output is kept. What is left ends with the test."""
    started = []

    def start(home, *words):
        (tmp_path / home).mkdir(exist_ok=True)
        output = tmp_path / f"{home}-{len(started)}.txt"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("TANDEM", "XDG"))}
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cli.main", *words],
                env=environment | {"HOME": str(tmp_path / home)},
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=tmp_path / home,
                start_new_session=True,
            )
        started.append(process)
        return process, output

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def said(output, pattern, timeout_s=60):
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        if match := re.search(pattern, output.read_text()):
            return match
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {pattern!r}: {output.read_text()}")


def test_the_join_line_is_all_an_actor_needs_and_no_secret_is_shown(program, tmp_path):
    token = load_or_create_token(tmp_path / "gpubox/.config/tandem/token")
    env = ("env=gym", "env.id=Pendulum-v1", "tracker=none", "warmup_steps=100000")
    learner, told = program("gpubox", "learner", *env, f"run={tmp_path / 'run'}", "learner.address=0.0.0.0:0")
    (line,) = said(told, r"join: tandem (actor .*)").groups()
    words = shlex.split(line.replace("\n", " "))
    assert words[2] == "learner.token_path=~/.config/tandem/token"
    assert re.fullmatch(r"learner\.ca=[0-9a-f]{64}", words[3])
    shutil.copytree(tmp_path / "gpubox/.config/tandem", tmp_path / "laptop/.config/tandem", ignore=lambda *_: ["tls"])
    port = words[1].rpartition(":")[2]
    words[1] = f"learner.address=127.0.0.1:{port}"  # the host's name need not resolve in a test's machine
    actor, heard = program("laptop", *words)
    said(heard, "connected to the learner")

    status, table = program("gpubox", "status", f"run={tmp_path / 'run'}", "json=true")
    assert status.wait(60) == 0, table.read_text()
    for process in (actor, learner):
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert f"To go on: tandem actor {words[1]} actor.name=" in " ".join(heard.read_text().split())
    assert f"{words[2]} {words[3]}" in " ".join(heard.read_text().split()), "the next time as well"
    secrets = [token, *(tmp_path / "gpubox/.config/tandem/tls/authority.pem").read_text().splitlines()[1:3]]
    files = [p for p in tmp_path.rglob("*") if p.is_file() and ".config" not in p.parts]
    assert any(p.name == "config.yaml" for p in files)
    for path in files:
        data = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in data], path
