"""How a client knows its learner: by the fingerprint of the learner's authority, or by a certificate of its own."""

from __future__ import annotations

import hmac
import ipaddress
import socket
import ssl
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

    def __repr__(self) -> str:
        return f"Trust({fingerprint(self.authority)})"  # never the key


def find_trust(address: str, ca: str, certificate: str) -> Trust | None:
    """What to open a channel to ``address`` with; None for plain text, which is for loopback alone.

    Args:
        ca: SHA-256 of the learner's authority, as its join line says; the authority is then asked of the learner.
        certificate: File of `tandem certs`; says all that ``ca`` does.

    Raises OSError where nobody answers, TrustError where somebody else does, CertificateError for an unfit file.
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
    if not is_loopback(address):
        raise TrustError(
            f"plain text is for loopback alone, and {address} is not. Use the line that the learner printed when it "
            "started, which ends with learner.ca=..., or ssh -L and localhost"
        )
    return None


def speaks_tls(address: str) -> bool:
    """Whether whoever listens there expects TLS. Raises nothing."""
    try:
        return bool(_chain(address))
    except OSError:
        return False


def is_loopback(address: str) -> bool:
    """Whether every address that ``host:port`` stands for is this machine's loopback."""
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        found = {str(place[0]) for *_, place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return False
    return all(ipaddress.ip_address(ip.partition("%")[0]).is_loopback for ip in found)


def _authority_of(address: str, ca: str) -> bytes:
    """The authority a learner shows, if it has the fingerprint; until it does, nothing is believed or told."""
    if len(_plain(ca)) != 64:
        raise TrustError(f"learner.ca must be 64 hexadecimal digits, as the learner's join line says. Got: {ca!r}")
    shown = [ssl.DER_cert_to_PEM_cert(der).encode() for der in _chain(address)]
    for pem in shown:
        if _same(fingerprint(pem), ca):
            return pem
    raise TrustError(
        f"another learner than expected answers at {address}: learner.ca expected {_plain(ca)}, got "
        f"{fingerprint(shown[-1]) if shown else 'no certificate'}. If the learner's tls folder was made anew, use the "
        "line it prints now; otherwise somebody is in between"
    )


def _chain(address: str) -> list[bytes]:
    """Certificates that a server shows, DER, unverified. Raises OSError, ssl.SSLError where it speaks no TLS."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise TrustError(f"learner.address must be HOST:PORT. Got: {address!r}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    place = (host.removeprefix("[").removesuffix("]"), int(port))
    with socket.create_connection(place, TIMEOUT_S) as raw, context.wrap_socket(raw) as secure:
        # Public from Python 3.13 on.
        chain = secure._sslobj.get_unverified_chain() or []  # type: ignore[attr-defined]
        return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain]


def _plain(text: str) -> str:
    return text.replace(":", "").strip().lower()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(_plain(one).encode(), _plain(other).encode())
