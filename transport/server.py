"""What every server of ours has: encryption but on loopback, bounded sizes, and the token asked of every call but
health."""

from __future__ import annotations

import asyncio
import errno
import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from transport.certificates import Identity

HEALTH_PREFIX = "/grpc.health.v1.Health/"
MAX_CONCURRENT_CALLS = 512
MAX_WATCHES = 16
"""Health streams at a time: they need no token, and may not take the place of calls that do."""
_LAST_STATUS_S = 0.05
UNAUTHENTICATED_TEXT = (
    "this learner wants its token in the metadata 'authorization: Bearer TOKEN'. Expected the token "
    "it started with, got {got}. Copy ~/.config/tandem/token from the learner's machine, or set TANDEM_TOKEN to the "
    "same value on both sides"
)


UNDECODABLE_TEXT = "the bytes are no message of this call: they cannot be decoded"


class BindError(RuntimeError):
    """An address that a server will not, or cannot, bind."""


def server_options(max_message_bytes: int) -> tuple[tuple[str, int], ...]:
    """Options of a server that refuses messages above ``max_message_bytes``."""
    return (
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.http2.max_frame_size", 1 << 20),
        ("grpc.http2.lookahead_bytes", 8 << 20),
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.max_concurrent_streams", 64),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.keepalive_time_ms", 5000),
        ("grpc.keepalive_timeout_ms", 5000),
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


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses (UNAUTHENTICATED) every call without the token, but those of grpc.health.v1.Health."""

    def __init__(self, token: str):
        self._expected = f"Bearer {token}".encode()
        self._watches: set[asyncio.Task[None]] = set()
        self._ended = False

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        if handler_call_details.method == HEALTH_PREFIX + "Watch":
            return self._bounded(await continuation(handler_call_details))
        if handler_call_details.method.startswith(HEALTH_PREFIX):
            return await continuation(handler_call_details)
        given = [value for key, value in handler_call_details.invocation_metadata or () if key == "authorization"]
        if len(given) == 1 and hmac.compare_digest(_bytes(given[0]), self._expected):
            return _decoding(await continuation(handler_call_details))
        return _REFUSE_OTHER if given else _REFUSE_NONE

    async def end_watches(self) -> None:
        """Ends the health streams, once they have told their last status."""
        self._ended = True
        if self._watches:
            await asyncio.sleep(_LAST_STATUS_S)
        for task in self._watches:
            task.cancel()

    def _bounded(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        async def watch(request: Any, context: grpc.aio.ServicerContext) -> None:
            if len(self._watches) >= MAX_WATCHES:
                text = f"at most {MAX_WATCHES} health watches at a time: use Check"
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
            task = asyncio.create_task(handler.unary_stream(request, context))
            self._watches.add(task)
            try:
                await task
            except asyncio.CancelledError:
                if not self._ended:
                    raise
            finally:
                self._watches.discard(task)

        return grpc.unary_stream_rpc_method_handler(watch, handler.request_deserializer, handler.response_serializer)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


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


def _decoding(handler: grpc.RpcMethodHandler | None) -> grpc.RpcMethodHandler | None:
    """``handler``, for which bytes that are no message of its type are an INVALID_ARGUMENT, not UNKNOWN.

    A stream of messages reads them itself, and sees the DecodeError.
    """
    if handler is None or handler.request_streaming:
        return handler
    decode = handler.request_deserializer

    def decode_or_none(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return None

    async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
        if request is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, UNDECODABLE_TEXT)
        return await handler.unary_unary(request, context)

    async def stream(request: Any, context: grpc.aio.ServicerContext) -> Any:
        if request is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, UNDECODABLE_TEXT)
        async for reply in handler.unary_stream(request, context):
            yield reply

    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(stream, decode_or_none, handler.response_serializer)
    return grpc.unary_unary_rpc_method_handler(answer, decode_or_none, handler.response_serializer)


def _refuse(got: str) -> grpc.RpcMethodHandler:
    """A handler that reads nothing, so that it answers calls of every kind."""

    async def refuse(_: Any, context: grpc.aio.ServicerContext) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, UNAUTHENTICATED_TEXT.format(got=got))

    return grpc.stream_stream_rpc_method_handler(refuse)


_REFUSE_NONE = _refuse("none")
_REFUSE_OTHER = _refuse("another one")
