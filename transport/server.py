"""Where a server of ours listens, and how: encrypted but on loopback, its messages and calls bounded."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import NamedTuple

import grpc
import grpc.aio

from transport.certificates import Identity
from transport.channel import PING_TIMEOUT_MS
from transport.strangers import MAX_STRANGERS

MAX_CONCURRENT_CALLS = 512 + MAX_STRANGERS
MAX_CONNECTIONS = 512
HANDSHAKE_MS = 5000
"""From the connection to its HTTP/2 settings, TLS included: so long, one that says nothing keeps a place."""
LOOKAHEAD_BYTES = 1 << 20
"""Of each call, taken before anybody reads it, so without the token too."""


class BindError(RuntimeError):
    """An address that a server will not, or cannot, bind."""


def server_options(max_message_bytes: int) -> tuple[tuple[str, int], ...]:
    """Options of a server that refuses messages above ``max_message_bytes``."""
    return (
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.http2.max_frame_size", 1 << 20),
        ("grpc.http2.lookahead_bytes", LOOKAHEAD_BYTES),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.max_concurrent_streams", 64),
        ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.keepalive_time_ms", 5000),
        ("grpc.keepalive_timeout_ms", 5000),
        ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
    )


class Place(NamedTuple):
    """Where to listen: ``ips`` are what ``host`` was when it was checked, and what is bound."""

    host: str
    port: int
    ips: tuple[str, ...]

    @property
    def is_loopback(self) -> bool:
        return all(ipaddress.ip_address(ip).is_loopback for ip in self.ips)


def place_of(address: str) -> Place:
    """Place of ``address`` (``host:port``, ``[::1]:port``). Raises BindError where it is none."""
    host, _, text = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not text.isdecimal() or int(text) > 65535:
        raise BindError(f"address must be HOST:PORT, e.g. localhost:50051. Got: {address!r}")
    return Place(host, int(text), _resolve(host, int(text)))


def check_encrypted(place: Place, identity: Identity | None) -> None:
    """Raises BindError for plain text on anything but loopback."""
    if identity is None and not place.is_loopback:
        raise BindError(
            f"plain text is for loopback alone. Expected localhost:{place.port}, got {place.host}:{place.port}. "
            f"Leave learner.tls=auto, which encrypts it, or bind localhost and run on the other machine: "
            f"ssh -L {place.port}:localhost:{place.port} GPUBOX"
        )


def check_free(place: Place) -> None:
    """Raises BindError when a port is taken, on any of the addresses of the host. Port 0 is always free."""
    host, port, ips = place
    for ip in ips:
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ip, port))
            except PermissionError:
                raise BindError(f"port {port} needs privileges: choose one above 1023") from None
            except OSError as error:
                if family == socket.AF_INET6 and error.errno != errno.EADDRINUSE:
                    continue
                raise BindError(
                    f"{host}:{port} is taken by another program ({error.strerror}). Stop it (`ss -ltnp` names it), or "
                    "choose another port"
                ) from None


def bind(server: grpc.aio.Server, place: Place, identity: Identity | None = None, *, mutual: bool = False) -> int:
    """Binds the addresses of ``place``, those of a machine without IPv6 alone, and returns the port.

    With ``identity`` it is encrypted; ``mutual``: clients must show a certificate of the same authority.

    Raises BindError where none can be bound, or the port that 0 became is taken on another address.
    """
    check_encrypted(place, identity)
    credentials = None if identity is None else _credentials(identity, mutual)
    bound, reason = False, ""
    for ip in sorted(place.ips, key=lambda ip: ":" in ip):
        if bound:
            check_free(place._replace(ips=(ip,)))
        try:
            where = f"[{ip}]:{place.port}" if ":" in ip else f"{ip}:{place.port}"
            port = server.add_secure_port(where, credentials) if credentials else server.add_insecure_port(where)
        except RuntimeError as error:
            reason = str(error)
            continue
        bound, place = True, place._replace(port=port)
    if not bound:
        raise BindError(f"{place.host}:{place.port} cannot be bound ({reason}): choose another port")
    return place.port


def _credentials(identity: Identity, mutual: bool) -> grpc.ServerCredentials:
    shown = identity.certificate + identity.authority  # clients compare the fingerprint of the second
    return grpc.ssl_server_credentials([(identity.key, shown)], identity.authority if mutual else None, mutual)


def _resolve(host: str, port: int) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise BindError(f"host {host!r} is unknown ({error.strerror}): expected localhost") from None
    return tuple(dict.fromkeys(str(place[0]) for *_, place in found))
