"""Channels to a learner: keepalive, message sizes, encryption, and the token in every call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, overload

import grpc
import grpc.aio

from transport.certificates import SERVER_NAME
from transport.trust import Trust

PROTOCOL = 1
MAX_RECEIVE_BYTES = 8 << 20
UNARY_TIMEOUT_S = 10.0

PING_TIMEOUT_MS = 20_000
"""For the answer to a ping, which waits behind all that is under way: a tunnel holds megabytes of a slow line."""

CLIENT_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 2000),
    # What TCP may leave unacknowledged: gRPC never arms it for pings, whose own time is a minute unless given.
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 400),
    # How long an attempt may take, in spite of its name: TLS over a slow link is several round trips.
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
    ("grpc.max_send_message_length", -1),
    # A channel is a connection: without this, two channels to one address share it, and weights delay steps.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
)

# Whatever its authority signed for a server is the learner, by whichever address it is reached.
_NAMED = (*CLIENT_OPTIONS, ("grpc.ssl_target_name_override", SERVER_NAME))


@overload
def open_channel(
    address: str, token: str, trust: Trust | None = None, *, aio: Literal[False] = False
) -> grpc.Channel: ...
@overload
def open_channel(address: str, token: str, trust: Trust | None = None, *, aio: Literal[True]) -> grpc.aio.Channel: ...
def open_channel(
    address: str, token: str, trust: Trust | None = None, *, aio: bool = False
) -> grpc.Channel | grpc.aio.Channel:
    """A connection of its own to the learner at ``host:port``; it is made, and made again, when calls need it.

    ``trust`` is what ``transport.trust.find_trust`` found; without it the channel is plain text. Every call carries
    ``authorization: Bearer TOKEN``. Give unary calls ``timeout=UNARY_TIMEOUT_S``.
    """
    metadata = ("authorization", f"Bearer {token}")
    if aio:
        kinds = (_AioUnaryUnary, _AioUnaryStream, _AioStreamUnary, _AioStreamStream)
        interceptors = [kind(metadata) for kind in kinds]
        if trust is None:
            return grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS, interceptors=interceptors)
        return grpc.aio.secure_channel(address, trust.credentials(), options=_NAMED, interceptors=interceptors)
    if trust is None:
        channel = grpc.insecure_channel(address, options=CLIENT_OPTIONS)
    else:
        channel = grpc.secure_channel(address, trust.credentials(), options=_NAMED)
    return grpc.intercept_channel(channel, _Token(metadata))


class _Details(NamedTuple):
    """What an interceptor passes on: the call's details with the token added."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any = None


class _Token(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def __init__(self, metadata: tuple[str, str]):
        self._metadata = metadata

    def _call(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        carried = _Details(
            details.method,
            details.timeout,
            (*(details.metadata or ()), self._metadata),
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
        return continuation(carried, request)

    intercept_unary_unary = _call
    intercept_unary_stream = _call
    intercept_stream_unary = _call
    intercept_stream_stream = _call


class _AioToken:
    def __init__(self, metadata: tuple[str, str]):
        self._metadata = metadata

    async def _call(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), self._metadata)
        carried = grpc.aio.ClientCallDetails(
            details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
        )
        return await continuation(carried, request)


class _AioUnaryUnary(_AioToken, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary = _AioToken._call


class _AioUnaryStream(_AioToken, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream = _AioToken._call


class _AioStreamUnary(_AioToken, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary = _AioToken._call


class _AioStreamStream(_AioToken, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream = _AioToken._call
