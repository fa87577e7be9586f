"""Every way in which an address has no answer for an actor is told from the others: real servers and real ports."""

import contextlib
import socket
import ssl
import threading
from concurrent import futures

import grpc
import pytest

import transport.certificates as certificates
from transport import trust, unanswered
from transport.certificates import issue_actor, learner_identity
from transport.server import bind, place_of
from transport.unanswered import listens, why_unanswered

x509 = pytest.importorskip("cryptography.x509")


@pytest.fixture
def folder(tmp_path):
    learner_identity(tmp_path / "tls")
    return tmp_path / "tls"


@pytest.fixture
def ca(folder):
    return learner_identity(folder).fingerprint


@pytest.fixture
def laptop(folder, tmp_path):
    issue_actor(folder, "laptop", tmp_path / "laptop.pem", 30)
    return str(tmp_path / "laptop.pem")


@pytest.fixture
def serve():
    """Starts servers of gRPC, each with its address; all end with the test."""
    with contextlib.ExitStack() as stack:

        def start(identity=None, *, mutual=False):
            server = grpc.server(futures.ThreadPoolExecutor(1))
            port = bind(server, place_of("127.0.0.1:0"), identity, mutual=mutual)
            server.start()
            stack.callback(lambda: server.stop(None).wait())
            return f"127.0.0.1:{port}"

        yield start


@pytest.fixture
def answering():
    """Listens on a port and does what it is told with each connection."""
    threads = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def start(act):
            def accept():
                with contextlib.suppress(OSError):
                    while True:
                        with server.accept()[0] as connection:
                            act(connection)

            threads.append(threading.Thread(target=accept))
            threads[-1].start()
            return f"127.0.0.1:{server.getsockname()[1]}"

        yield start
        server.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(60)


@pytest.fixture
def silent(monkeypatch):
    """The system takes connections for a program that does not, as for one that is stopped."""
    for room in (trust, unanswered):
        monkeypatch.setattr(room, "TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_where_nothing_is_wrong_nothing_is_said(serve, folder, ca, laptop):
    identity = learner_identity(folder)
    assert why_unanswered(serve()) == ("", "", True, False)
    assert why_unanswered(serve(identity), ca).what == ""
    mutual = serve(identity, mutual=True)
    assert why_unanswered(mutual, "", laptop).what == why_unanswered(mutual, ca, laptop).what == ""


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
        assert listens(address)
    found = why_unanswered(address)
    assert found.what == f"nobody answers at {address} (Connection refused)"
    assert (found.listens, found.final, listens(address)) == (False, False, False)
    assert "Start `tandem learner` there" in str(found)


def test_something_listens_and_is_silent(silent, ca):
    for known in ("", ca):
        found = why_unanswered(silent, known)
        assert str(found).startswith(f"something listens at {silent} but does not answer. The process may be stopped")
        assert (found.listens, found.final) == (True, False)


def test_something_listens_and_hangs_up_or_is_another_program(answering, ca):
    tunnel = answering(lambda connection: None)
    for known in ("", ca):
        found = why_unanswered(tunnel, known)
        assert found.what == f"whoever listens at {tunnel} hangs up"
        assert not found.final


def test_another_program_answers(answering, ca):
    address = answering(lambda connection: (connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), connection.recv(99)))
    assert why_unanswered(address).what == f"who answers at {address} is no learner"
    assert why_unanswered(address, ca).what == f"who answers at {address} speaks no TLS"


def test_one_side_expects_encryption_and_the_other_none(serve, folder, ca):
    address = serve(learner_identity(folder))
    for either in (address, serve(learner_identity(folder), mutual=True)):
        found = why_unanswered(either)
        assert (found.what, found.final) == (f"the learner at {either} is encrypted", True)
        assert "learner.ca=..." in found.advice
        assert "learner.certificate=NAME.pem" in found.advice
    plain = serve()
    assert why_unanswered(plain, ca).what == f"who answers at {plain} speaks no TLS"


def test_a_learner_asks_for_a_certificate_or_refuses_one(serve, folder, ca, tmp_path):
    address = serve(learner_identity(folder), mutual=True)
    found = why_unanswered(address, ca)
    assert (found.what, found.final) == (f"the learner at {address} asks for a certificate", True)
    assert "learner.certificate=NAME.pem" in found.advice
    key, authority = certificates._authority(folder)
    made = certificates._issue(key, authority, "server", 30, server=True)  # no actor's
    path = tmp_path / "wrong.pem"
    certificates._write(path, made.key + made.certificate + authority, replace=False)
    found = why_unanswered(address, "", str(path))
    assert (found.what, found.final) == (f"the learner at {address} refuses the certificate {path}", True)


def test_an_expired_certificate_of_either_side_is_named_with_its_date(serve, folder, ca, tmp_path):
    issue_actor(folder, "late", tmp_path / "late.pem", 0)
    found = why_unanswered(serve(), "", str(tmp_path / "late.pem"))
    assert found.final
    assert found.what.startswith(f"the certificate {tmp_path / 'late.pem'} expired on 20")
    key, authority = certificates._authority(folder)
    old = certificates._issue(key, authority, certificates.SERVER_NAME, 0, server=True)
    address = serve(old)
    found = why_unanswered(address, ca)
    assert found.what.startswith(f"the certificate of the learner at {address} expired on 20")


def test_an_authority_made_anew_is_another_learner(serve, tmp_path, ca, laptop):
    address = serve(learner_identity(tmp_path / "anew"), mutual=True)
    for known in ((ca, ""), ("", laptop)):
        found = why_unanswered(address, *known)
        assert found.final
        assert found.what.startswith(f"another learner than expected answers at {address}: learner.ca expected {ca}")


def test_what_is_no_address_is_said():
    assert "learner.address must be HOST:PORT" in why_unanswered("localhost", "0" * 64).what
    assert not listens("localhost")


@pytest.mark.parametrize("of", ["version", "date"])
def test_a_certificate_that_openssl_takes_and_cryptography_does_not_is_named(answering, folder, ca, tmp_path, of):
    good = learner_identity(folder)
    der = ssl.PEM_cert_to_DER_cert(good.certificate.decode())
    ends = x509.load_der_x509_certificate(der).not_valid_after_utc.strftime("%y%m%d%H%M%SZ").encode()
    was, becomes = {"version": (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05"), "date": (ends, b"9" * 12 + b"Z")}[of]
    assert der.count(was) == 1
    odd = ssl.DER_cert_to_PEM_cert(der.replace(was, becomes)).encode()
    path = tmp_path / "odd.pem"
    certificates._write(path, good.key + odd + good.authority, replace=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)

    def handshake(connection):
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(99)

    address = answering(handshake)
    found = why_unanswered(address, ca)
    assert found.what.startswith(f"the certificate of the learner at {address} is malformed: ")
    other = "0" * 64
    assert why_unanswered(address, other).what.startswith(f"another learner than expected answers at {address}")
    assert why_unanswered(address, "", str(path)).what.startswith(f"{path} holds no certificate")
