"""How a client knows its learner: by the fingerprint of the learner's authority, or by a certificate of its own."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from transport.certificates import CertificateError, fingerprint, read_identity

TIMEOUT_S = 5.0


class TrustError(CertificateError):
    """A learner that is not the one expected, or an address that wants encryption; the text says what to do."""


@dataclass(frozen=True)
class Trust:
    """What a channel is made with; None for ``key`` and ``certificate`` where the learner knows its actors by token."""

    authority: bytes
    key: bytes | None = None
    certificate: bytes | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the authority's certificate, 64 hexadecimal digits."""
        return fingerprint(self.authority)

    def __repr__(self) -> str:
        return f"Trust({self.fingerprint})"  # never the key


def find_trust(address: str, ca: str, certificate: str) -> Trust | None:
    """What to open a channel to ``address`` with; None for plain text, which is for loopback alone.

    Args:
        ca: SHA-256 of the learner's authority, as its join line says; the authority is then asked of the learner.
        certificate: File of `tandem certs`; says all that ``ca`` does.

    Raises OSError where nobody answers or the name is unknown, TrustError where somebody else does or ``address`` is
    none, CertificateError for an unfit file or one that has expired.
    """
    if certificate:
        identity = read_identity(Path(certificate).expanduser())
        if ca and not _same(identity.fingerprint, ca):
            raise TrustError(
                f"{certificate} is of another learner than learner.ca: expected {_plain(ca)}, got "
                f"{identity.fingerprint}. Leave out learner.ca, or make one there: tandem certs name=NAME"
            )
        return Trust(identity.authority, identity.key, identity.certificate)
    if ca:
        return Trust(_authority_of(address, ca))
    if not _leads_to_loopback(place_in(address)[0]):
        raise TrustError(
            f"plain text is for loopback alone, and {address} is not. Use the line that the learner printed when it "
            "started, with learner.ca=... and, where it asks for a certificate, learner.certificate=NAME.pem, or "
            "ssh -L and localhost"
        )
    return None


def is_loopback(address: str) -> bool:
    """Whether every address that ``host:port`` stands for is this machine's loopback; False where it is none."""
    try:
        return _leads_to_loopback(place_in(address)[0])
    except (OSError, TrustError):
        return False


def _leads_to_loopback(host: str) -> bool:
    found = {str(place[0]) for *_, place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return all(ipaddress.ip_address(ip.partition("%")[0]).is_loopback for ip in found)


def _authority_of(address: str, ca: str) -> bytes:
    """The authority a learner shows, if it has the fingerprint; until it does, nothing is believed or told."""
    if len(_plain(ca)) != 64:
        raise TrustError(f"learner.ca must be 64 hexadecimal digits, as the learner's join line says. Got: {ca!r}")
    with tls_connection(address) as secure:
        return check_authority(chain_of(secure), ca, address)


def check_authority(chain: list[bytes], ca: str, address: str) -> bytes:
    """The certificate of ``chain`` with the fingerprint ``ca``. Raises TrustError where there is none."""
    for pem in chain:
        if _same(fingerprint(pem), ca):
            return pem
    raise TrustError(
        f"another learner than expected answers at {address}: learner.ca expected {_plain(ca)}, got "
        f"{fingerprint(chain[-1]) if chain else 'no certificate'}. If the learner's tls folder was made anew, use the "
        "line it prints now (and with learner.tls=mutual a certificate made now: tandem certs name=NAME); otherwise "
        "somebody is in between"
    )


def place_in(address: str) -> tuple[str, int]:
    """Host and port of ``address``. Raises TrustError where it is none."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= 65535:
        raise TrustError(f"learner.address must be HOST:PORT, e.g. localhost:50051. Got: {address!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


@contextlib.contextmanager
def tls_connection(address: str, certificate: str = "") -> Iterator[ssl.SSLSocket]:
    """A connection after its handshake; nothing is verified, so tell it nothing.

    ``certificate``: what to show, where a learner asks for one: a file of `tandem certs`.

    Raises OSError where nobody answers, ssl.SSLError where who does speaks no TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(Path(certificate).expanduser())
    with socket.create_connection(place_in(address), TIMEOUT_S) as raw, context.wrap_socket(raw) as secure:
        yield secure


def chain_of(secure: ssl.SSLSocket) -> list[bytes]:
    """Certificates that a server shows, PEM, unverified."""
    chain = secure._sslobj.get_unverified_chain() or []  # type: ignore[attr-defined]  # public from Python 3.13 on
    return [certificate.public_bytes().encode() for certificate in chain]


def _plain(text: str) -> str:
    return text.replace(":", "").strip().lower()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(_plain(one).encode(), _plain(other).encode())
