"""An actor says why its learner is away: before it has joined, and while it runs."""

import contextlib
import socket
import ssl
import subprocess
import sys
import threading

import pytest

from actor import describe
from actor.away import Away
from actor.config import ActorConfig
from actor.describe import JoinError, await_description
from envs.generic import GymConfig
from episodes.acting import ActingSettings
from tests.actor.bench import TOKEN
from transport import service_pb2_grpc as rpc
from transport import unanswered
from transport.certificates import issue_actor, learner_identity
from transport.channel import open_channel
from transport.trust import find_trust

pytest.importorskip("cryptography")
WITNESS = GymConfig(id="Witness-v0")


def test_an_expired_certificate_ends_the_actor_with_file_and_date(tmp_path):
    issue_actor(tmp_path / "tls", "arm", tmp_path / "arm.pem", 0)
    (tmp_path / "token").touch(0o600)
    (tmp_path / "token").write_text(TOKEN)
    words = (f"learner.certificate={tmp_path / 'arm.pem'}", f"learner.token_path={tmp_path / 'token'}")
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "cli.main",
            "actor",
            "learner.address=127.0.0.1:1",
            *words,
            f"actor.spool={tmp_path}",
        ],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"actor: the certificate {tmp_path / 'arm.pem'} expired on 20")
    assert "tandem certs name=arm" in done.stderr


def test_a_learner_whose_authority_was_made_anew_is_named_while_the_actor_runs(bench, actor, tmp_path, wait_for):
    identity = learner_identity(tmp_path / "tls")
    issue_actor(tmp_path / "tls", "arm", tmp_path / "arm.pem", 30)
    run = bench("gym", WITNESS, acting=ActingSettings(pacing="lockstep", warmup="uniform"), identity=identity)
    run.publish(0)
    arm = actor(run.port, certificate=str(tmp_path / "arm.pem"))
    wait_for(lambda: len(run.steps) > 5)
    run.stop()
    run.identity = learner_identity(tmp_path / "anew")
    run.start()
    expected = (
        f"another learner than expected answers at localhost:{run.port}: learner.ca expected {identity.fingerprint}"
    )
    wait_for(lambda: expected in arm.text)
    assert "Steps wait in the spool: start this actor again once that is mended" in arm.text


def test_a_certificate_that_expires_meanwhile_is_said_once(tmp_path):
    issue_actor(tmp_path / "tls", "arm", tmp_path / "arm.pem", 0)
    said = []
    away = Away(ActorConfig(learner_address="127.0.0.1:1", certificate=str(tmp_path / "arm.pem")), said.append)
    for _ in range(2):
        away.look()
        away._thread.join(60)
        away._look_due_s = 0.0
    assert len(said) == 1
    assert said[0].startswith(f"the certificate {tmp_path / 'arm.pem'} expired on 20")


def test_of_a_learner_that_nobody_started_yet_nothing_more_is_said():
    said = []
    away = Away(ActorConfig(learner_address="127.0.0.1:1"), said.append)
    away.look()
    away._thread.join(60)
    assert said == []


def test_a_stopped_learner_is_waited_for_and_is_not_nobody(monkeypatch):
    monkeypatch.setattr(unanswered, "TIMEOUT_S", 0.5)
    said = []
    with socket.create_server(("127.0.0.1", 0)) as stopped:
        address = f"127.0.0.1:{stopped.getsockname()[1]}"
        with open_channel(address, TOKEN) as channel:
            config = ActorConfig(learner_address=address)
            assert await_description(rpc.LearnerStub(channel), config, said.append, lambda: bool(said)) is None
    assert said[0].startswith(f"waiting for a learner: something listens at {address} but does not answer")


def test_a_learner_that_asks_for_a_certificate_is_not_waited_for(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(describe, "SAY_EVERY_S", 0.3)
    said = []
    identity = learner_identity(tmp_path / "tls")
    run = bench("gym", WITNESS, identity=identity)
    config = ActorConfig(learner_address=f"localhost:{run.port}", ca=identity.fingerprint)
    trust = find_trust(config.learner_address, config.ca, "")
    with (
        open_channel(config.learner_address, TOKEN, trust) as channel,
        pytest.raises(JoinError, match=r"asks for a certificate\. .*learner\.certificate=NAME\.pem"),
    ):
        await_description(rpc.LearnerStub(channel), config, said.append, lambda: False)
    assert len(said) == 1, "one look does not end it"


def test_a_learner_that_hangs_up_as_it_goes_down_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(describe, "SAY_EVERY_S", 0.3)
    learner_identity(tmp_path / "tls")
    issue_actor(tmp_path / "tls", "arm", tmp_path / "arm.pem", 30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown = learner_identity(tmp_path / "tls")
    (tmp_path / "shown.pem").write_bytes(shown.key + shown.certificate + shown.authority)
    context.load_cert_chain(tmp_path / "shown.pem")
    said = []
    with socket.create_server(("127.0.0.1", 0)) as going:

        def hang_up():
            with contextlib.suppress(OSError):
                while True:
                    with contextlib.suppress(ssl.SSLError, ConnectionError):
                        context.wrap_socket(going.accept()[0], server_side=True).close()

        thread = threading.Thread(target=hang_up)
        thread.start()

        def say(text):
            said.append(text)
            if len(said) == 1:
                going.shutdown(socket.SHUT_RDWR)
                thread.join(60)
                going.close()

        config = ActorConfig(
            learner_address=f"127.0.0.1:{going.getsockname()[1]}", certificate=str(tmp_path / "arm.pem")
        )
        with open_channel(config.learner_address, TOKEN, find_trust("", "", config.certificate)) as channel:
            assert await_description(rpc.LearnerStub(channel), config, say, lambda: len(said) > 1) is None
    assert "refuses the certificate" in said[0]
    assert "nobody answers" in said[1]
