"""Why no learner answers at an address, as far as a look at its port from here can tell, and what to do about it."""

from __future__ import annotations

import socket
import ssl
from typing import NamedTuple

from transport.certificates import CertificateError, check_dates
from transport.trust import TIMEOUT_S, Trust, chain_of, check_authority, find_trust, place_in, tls_connection

_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
"""HTTP/2's preface and empty settings (RFC 9113, section 3.4); a server of gRPC answers with its own settings."""


class Unanswered(NamedTuple):
    """What is wrong.

    Attributes:
        what: In words, with the address; empty where nothing is found to be wrong.
        advice: What to do; empty where ``what`` says it.
        listens: Whether anything listens there.
        final: Whether it stays so however long one waits, as far as one look can tell.
    """

    what: str = ""
    advice: str = ""
    listens: bool = True
    final: bool = False

    def __str__(self) -> str:
        return f"{self.what}. {self.advice}" if self.advice else self.what


def why_unanswered(address: str, ca: str = "", certificate: str = "") -> Unanswered:
    """Looks at ``address`` as somebody would who connects now, without the token; takes 10 s at most.

    Args:
        ca, certificate: As for ``transport.trust.find_trust``.
    """
    try:
        trust = find_trust(address, ca, certificate)
        return _look_plain(address) if trust is None else _look(address, trust, certificate)
    except CertificateError as error:
        return Unanswered(str(error), final=True)
    except OSError as error:
        return unanswered(address, error)


def unanswered(address: str, error: OSError) -> Unanswered:
    """What it means that connecting to ``address`` failed with ``error``."""
    if isinstance(error, TimeoutError) and listens(address):
        return Unanswered(
            f"something listens at {address} but does not answer",
            "The process may be stopped or hang, or be no learner: `ss -ltnp` names it on its machine",
        )
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionResetError | BrokenPipeError):
        return _hangs_up(address)
    if isinstance(error, ssl.SSLError):
        return Unanswered(
            f"who answers at {address} speaks no TLS", "It is another program, or a learner without learner.tls=on"
        )
    host, _, port = address.rpartition(":")
    if isinstance(error, socket.gaierror):
        return Unanswered(
            f"the name {host} is unknown here ({error.strerror})",
            "Check learner.address=HOST:PORT, or give the learner's IP address",
            listens=False,
        )
    return Unanswered(
        f"nobody answers at {address} ({error.strerror or error})",
        f"Start `tandem learner` there, or forward its port (ssh -L {port}:localhost:{port} GPUBOX), or give "
        "learner.address=HOST:PORT",
        listens=False,
    )


def listens(address: str) -> bool:
    """Whether anything takes connections at ``host:port``. Raises nothing."""
    try:
        socket.create_connection(place_in(address), 1.0).close()
    except (OSError, CertificateError):
        return False
    return True


def _look(address: str, trust: Trust, certificate: str) -> Unanswered:
    with tls_connection(address, certificate) as secure:
        chain = chain_of(secure)
        check_authority(chain, trust.fingerprint, address)
        check_dates(
            chain[0], f"the certificate of the learner at {address}", "Start the learner again: it makes another"
        )
        greeting = _greeting(secure)
    if greeting:
        return _judged(greeting, address)
    # Where it does not like what it is shown, a server of gRPC hangs up once the client is done with its handshake.
    if certificate:
        return Unanswered(
            f"the learner at {address} refuses the certificate {certificate}",
            "Compare the clocks of both machines, or make another on the learner's: tandem certs name=NAME",
            final=True,
        )
    return Unanswered(
        f"the learner at {address} asks for a certificate",
        "Make one on its machine, tandem certs name=NAME, and give it here: learner.certificate=NAME.pem",
        final=True,
    )


def _look_plain(address: str) -> Unanswered:
    with socket.create_connection(place_in(address), TIMEOUT_S) as connection:
        greeting = _greeting(connection)
    if greeting:
        return _judged(greeting, address)
    try:
        with tls_connection(address):
            return Unanswered(
                f"the learner at {address} is encrypted",
                "Use the line it printed when it started, with learner.ca=... and, where it asks for a certificate, "
                "learner.certificate=NAME.pem",
                final=True,
            )
    except OSError:
        return _hangs_up(address)


def _greeting(connection: socket.socket) -> bytes:
    """The first bytes of whoever listens; empty where it hangs up. Raises TimeoutError."""
    try:
        connection.sendall(_HELLO)
        return connection.recv(4)
    except (ssl.SSLError, ConnectionError):
        return b""


def _judged(greeting: bytes, address: str) -> Unanswered:
    if greeting[3:4] in (b"", b"\x04"):  # the type of a frame of settings
        return Unanswered()
    return Unanswered(f"who answers at {address} is no learner", "Another program has that port: `ss -ltnp` names it")


def _hangs_up(address: str) -> Unanswered:
    return Unanswered(
        f"whoever listens at {address} hangs up",
        "A tunnel does so while nobody listens at its far end: start `tandem learner` there",
    )
