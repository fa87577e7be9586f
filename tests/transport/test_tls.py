"""Who is let in by an encrypted learner, and whom an actor believes: real servers and channels on loopback."""

import contextlib
import datetime
import os
import socket
import ssl
import stat

import grpc
import pytest

import transport.certificates as certificates
from episodes.log import EpisodeLog
from learner.ingest import Ingest
from learner.publisher import PolicyPublisher
from learner.service import LearnerServer
from tests.learner.wire import RUN, TOKEN, wire_contract
from transport import service_pb2 as pb
from transport import service_pb2_grpc
from transport.certificates import CertificateError, issue_actor, learner_identity
from transport.channel import PROTOCOL, open_channel
from transport.server import BindError, check_encrypted, place_of
from transport.trust import Trust, TrustError, find_trust

pytest.importorskip("cryptography")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "tls"


@pytest.fixture
def serve(tmp_path, folder):
    """Starts learner servers, each with its port; all end with the test."""
    contract = wire_contract()
    log = EpisodeLog(tmp_path / "log", run_id=RUN, interface_fingerprint=contract.interface_fingerprint)
    ingest = Ingest(log, contract)
    run = pb.RunDescription(protocol=PROTOCOL, run_id=RUN, contract=contract.to_message())
    started = []

    def start(**settings):
        settings = {"identity": learner_identity(folder)} | settings
        server = LearnerServer("127.0.0.1:0", TOKEN, run, ingest, PolicyPublisher(), pb.Status, **settings)
        started.append(server)
        return f"127.0.0.1:{server.start()}"

    yield start
    for server in started:
        server.stop(0.1)
    ingest.close()
    log.close()


def described(address, trust, token=TOKEN):
    with open_channel(address, token, trust) as channel:
        stub = service_pb2_grpc.LearnerStub(channel)
        return stub.Describe(pb.DescribeRequest(protocol=PROTOCOL), timeout=10).run_id


def refusal(address, trust, token=TOKEN):
    with pytest.raises(grpc.RpcError) as caught:
        described(address, trust, token)
    return caught.value


def test_the_fingerprint_is_enough_and_the_token_is_still_asked(serve, folder):
    address = serve()
    fingerprint = learner_identity(folder).fingerprint
    trust = find_trust(address, fingerprint, "")
    assert described(address, trust) == RUN
    with_colons = ":".join(fingerprint[i : i + 2] for i in range(0, 64, 2)).upper()
    assert described(address, find_trust(address, with_colons, "")) == RUN
    assert refusal(address, trust, "another-token-0123456789").code() is grpc.StatusCode.UNAUTHENTICATED
    assert refusal(address, None).code() is grpc.StatusCode.UNAVAILABLE, "plain text on an encrypted port"
    plain = serve(identity=None)
    with pytest.raises(ssl.SSLError):
        find_trust(plain, fingerprint, "")


def test_somebody_in_between_is_named_before_anything_is_told(serve, folder, tmp_path):
    address = serve(identity=learner_identity(tmp_path / "other"))
    expected = learner_identity(folder).fingerprint
    with pytest.raises(TrustError, match=rf"another learner than expected answers .*expected {expected}, got"):
        find_trust(address, expected, "")
    with pytest.raises(TrustError, match=r"learner\.ca must be 64 hexadecimal digits.*Got: 'abc'"):
        find_trust(address, "abc", "")


def test_a_mutual_learner_takes_certificates_of_its_own_authority_alone(serve, folder, tmp_path):
    address = serve(mutual=True)
    issue_actor(folder, "laptop", tmp_path / "laptop.pem", 30)
    issue_actor(tmp_path / "other", "stranger", tmp_path / "stranger.pem", 30)
    assert described(address, find_trust(address, "", str(tmp_path / "laptop.pem"))) == RUN
    without = find_trust(address, learner_identity(folder).fingerprint, "")
    assert refusal(address, without).code() is grpc.StatusCode.UNAVAILABLE
    stranger = find_trust(address, "", str(tmp_path / "stranger.pem"))
    mixed = certificates.Identity(stranger.key, stranger.certificate, learner_identity(folder).certificate)
    assert refusal(address, type(stranger)(without.authority, mixed.key, mixed.certificate)).code() is (
        grpc.StatusCode.UNAVAILABLE
    )
    with pytest.raises(TrustError, match=r"laptop\.pem is of another learner than learner\.ca"):
        find_trust(address, "0" * 64, str(tmp_path / "laptop.pem"))


def test_expired_certificates_are_refused_by_both_sides(serve, folder, tmp_path):
    learner_identity(folder)

    issue_actor(folder, "laptop", tmp_path / "laptop.pem", 0)
    key, authority = certificates._authority(folder)
    expired = certificates._issue(key, authority, certificates.SERVER_NAME, 0, server=True)
    address = serve(mutual=True)
    with pytest.raises(CertificateError, match=r"the certificate .*laptop\.pem expired on \d{4}-.* UTC\..*name=laptop"):
        find_trust(address, "", str(tmp_path / "laptop.pem"))
    shown = certificates._read(tmp_path / "laptop.pem")
    assert refusal(address, Trust(authority, shown.key, shown.certificate)).code() is grpc.StatusCode.UNAVAILABLE
    address = serve(identity=expired)
    error = refusal(address, find_trust(address, expired.fingerprint, ""))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "certificate" in error.details().lower()


def test_a_certificate_whose_time_has_not_come_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(certificates, "_SKEW", -datetime.timedelta(days=2))
    issue_actor(folder, "laptop", tmp_path / "laptop.pem", 30)
    with pytest.raises(
        CertificateError, match=r"laptop\.pem is not valid before .*, and the clock of this machine says"
    ):
        find_trust("localhost:1", "", str(tmp_path / "laptop.pem"))


def test_an_actors_certificate_is_no_learners(serve, folder, tmp_path):
    actor = issue_actor(folder, certificates.SERVER_NAME, tmp_path / "laptop.pem", 30)
    address = serve(identity=actor)
    assert refusal(address, find_trust(address, actor.fingerprint, "")).code() is grpc.StatusCode.UNAVAILABLE


def test_keys_are_private_made_once_and_renewed_in_time(folder, tmp_path, monkeypatch):
    first = learner_identity(folder)
    assert learner_identity(folder) == first
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    monkeypatch.setattr(certificates, "RENEW_DAYS", 400)
    renewed = learner_identity(folder)
    assert renewed.certificate != first.certificate
    assert renewed.fingerprint == first.fingerprint, "actors go on with what they know"
    assert first.key.decode() not in repr(first)
    os.chmod(folder / "authority.pem", 0o644)
    with pytest.raises(CertificateError, match=r"may be read by others \(mode 0644, expected 0600\)"):
        learner_identity(folder)


def test_a_certificate_is_never_written_over(folder, tmp_path):
    out = tmp_path / "laptop.pem"
    issue_actor(folder, "laptop", out, 30)
    with pytest.raises(CertificateError, match=r"laptop\.pem is there already: name another file"):
        issue_actor(folder, "laptop", out, 30)


@pytest.mark.parametrize(
    "data", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_is_no_certificate_is_refused(folder, tmp_path, data):
    path = tmp_path / "broken.pem"
    path.touch(0o600)
    path.write_bytes(data)
    with pytest.raises(CertificateError, match=r"holds no"):
        find_trust("localhost:1", "", str(path))


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(CertificateError, match=rf"^there is no file {tmp_path / 'none.pem'}\. Make one on the learner"):
        find_trust("localhost:1", "", str(tmp_path / "none.pem"))


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "[::]:50051", "192.168.1.5:50051"])
def test_plain_text_is_for_loopback_alone(address, folder):
    with pytest.raises(BindError, match=r"plain text is for loopback alone.*learner\.tls=auto.*ssh -L"):
        check_encrypted(place_of(address), None)
    check_encrypted(place_of(address), learner_identity(folder))
    if "192" in address:
        with pytest.raises(TrustError, match=r"plain text is .*learner\.ca=.*learner\.certificate=NAME\.pem"):
            find_trust(address, "", "")
    check_encrypted(place_of("localhost:50051"), None)
    assert find_trust("localhost:50051", "", "") is None


def test_a_connection_that_says_nothing_is_closed_within_seconds(serve):
    with contextlib.ExitStack() as stack:
        for address in (serve(), serve(identity=None)):
            place = address.split(":")
            idle = stack.enter_context(socket.create_connection(place, 30.0))  # gRPC's own time is 120 s
            stack.callback(_drain, idle)


def _drain(idle):
    while idle.recv(1024):
        pass
