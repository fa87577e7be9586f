"""An actor without its token: what nobody will make is said at once, what a learner is about to make is waited for."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from actor import awaited_token
from actor.config import ActorConfig
from actor.main import run_actor
from tests.ports import lasting_port
from transport.token import NoTokenError, load_or_create_token


def settings(tmp_path, address):
    return ActorConfig(learner_address=address, token_path=str(tmp_path / "token"))


@pytest.fixture
def free(monkeypatch):
    """A port of this machine that nobody listens on; TANDEM_TOKEN is not set."""
    monkeypatch.delenv("TANDEM_TOKEN", raising=False)
    return f"localhost:{lasting_port()}"


def test_a_token_of_a_learner_elsewhere_is_not_waited_for(tmp_path):
    words = ("learner.address=192.0.2.1:50051", f"learner.token_path={tmp_path / 'token'}", f"actor.spool={tmp_path}")
    environment = {key: value for key, value in os.environ.items() if key != "TANDEM_TOKEN"}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "actor", *words], capture_output=True, text=True, env=environment, timeout=90
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"actor: no token: expected the file {tmp_path / 'token'}, as learner.token_p")
    assert f"scp -p GPUBOX:.config/tandem/token {tmp_path / 'token'}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_nor_is_one_of_a_learner_that_listens_already_as_through_a_tunnel(tmp_path, free, capsys):
    with (
        socket.create_server(("localhost", int(free.rpartition(":")[2]))),
        pytest.raises(NoTokenError, match=rf"the file {tmp_path / 'token'}"),
    ):
        awaited_token.await_token(settings(tmp_path, free), lambda: False)
    assert capsys.readouterr().out == ""


def test_a_learner_of_this_machine_is_given_time_to_make_it(tmp_path, free, capsys):
    config, found = settings(tmp_path, free), []
    actor = threading.Thread(target=lambda: found.append(awaited_token.await_token(config, lambda: False)))
    actor.start()
    said = ""
    while " s at most for a learner on this machine to start and make its token: no token" not in said:
        assert actor.is_alive()
        said += capsys.readouterr().out
    token = load_or_create_token(config.token_path)
    actor.join(60)
    assert found == [token]


def test_but_not_for_ever(tmp_path, free, monkeypatch):
    monkeypatch.setattr(awaited_token, "WAIT_S", 0.5)
    with pytest.raises(NoTokenError):
        awaited_token.await_token(settings(tmp_path, free), lambda: False)
    assert awaited_token.await_token(settings(tmp_path, free), lambda: True) == "", "told to stop"


@pytest.mark.parametrize("address", ["localhost:99999", "localhost:http", "localhost", ":50051"])
def test_nobody_is_waited_for_at_what_is_no_address(tmp_path, capsys, address):
    assert run_actor(settings(tmp_path, address)) == 1
    said = capsys.readouterr()
    expected = f"actor: address must be HOST:PORT, e.g. localhost:50051. Got: {address!r}\n"
    assert (said.out, said.err) == ("", expected)


def test_an_unknown_host_may_be_known_later(tmp_path, monkeypatch):
    monkeypatch.setenv("TANDEM_TOKEN", "token-of-the-tests-0123456789")
    found = awaited_token.await_token(ActorConfig(learner_address="nowhere.invalid:50051"), lambda: False)
    assert found == "token-of-the-tests-0123456789"
