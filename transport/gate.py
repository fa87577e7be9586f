"""Who may call a server of ours, and how often: the token is asked of every call but health."""

from __future__ import annotations

import hmac
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from transport.rate import TurnsOfEach
from transport.strangers import UNDECODABLE_TEXT, Strangers

HEALTH = ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch")
CALLS = (10.0, 32)
"""Unary calls with the token from one host: turns a second, and at once after a pause. Others wait."""
STREAMS = (10.0, 32)
"""Streams that one host begins."""
UNAUTHENTICATED_TEXT = (
    "this learner wants its token in the metadata 'authorization: Bearer TOKEN'. Expected the token "
    "it started with, got {got}. Copy the file of the learner's machine that its join line names "
    "(learner.token_path=...; ~/.config/tandem/token unless it was told another) and name it here in the same way, or "
    "set TANDEM_TOKEN to what the learner was started with"
)


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses (UNAUTHENTICATED) every call without the token, but those of grpc.health.v1.Health."""

    def __init__(self, token: str):
        self._expected = f"Bearer {token}".encode()
        self._strangers = Strangers()
        self._calls, self._streams = TurnsOfEach(*CALLS), TurnsOfEach(*STREAMS)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        if handler_call_details.method in HEALTH:
            return self._strangers.health(await continuation(handler_call_details))
        given = [value for key, value in handler_call_details.invocation_metadata or () if key == "authorization"]
        if len(given) == 1 and hmac.compare_digest(_bytes(given[0]), self._expected):
            return _decoding(self._in_turn(await continuation(handler_call_details)))
        return self._strangers.refuse(UNAUTHENTICATED_TEXT.format(got="another one" if given else "none"))

    async def end_watches(self) -> None:
        """As ``Strangers.end_watches``."""
        await self._strangers.end_watches()

    def _in_turn(self, handler: grpc.RpcMethodHandler | None) -> grpc.RpcMethodHandler | None:
        """``handler``, which waits where its caller's host makes too many calls."""
        if handler is None:
            return None
        turns = self._streams if handler.request_streaming or handler.response_streaming else self._calls

        async def wait(context: grpc.aio.ServicerContext) -> None:
            await turns.wait(context.peer().rpartition(":")[0])

        return _after(wait, handler)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _after(
    wait: Callable[[grpc.aio.ServicerContext], Awaitable[None]], handler: grpc.RpcMethodHandler | None
) -> grpc.RpcMethodHandler | None:
    """``handler``, once ``wait`` has returned; None for a call that nobody handles.

    Replies to one request are written by the handler itself, none are generated.
    """
    if handler is None:
        return None

    async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
        await wait(context)
        return await behind(request, context)

    async def stream(request: Any, context: grpc.aio.ServicerContext) -> Any:
        await wait(context)
        async for reply in behind(request, context):
            yield reply

    coders = (handler.request_deserializer, handler.response_serializer)
    if handler.request_streaming:
        behind = handler.stream_stream
        generates = inspect.isasyncgenfunction(behind)
        return grpc.stream_stream_rpc_method_handler(stream if generates else answer, *coders)
    if handler.response_streaming:
        behind = handler.unary_stream
        return grpc.unary_stream_rpc_method_handler(answer, *coders)
    behind = handler.unary_unary
    return grpc.unary_unary_rpc_method_handler(answer, *coders)


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

    behind = handler.unary_stream if handler.response_streaming else handler.unary_unary

    async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
        if request is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, UNDECODABLE_TEXT)
        return await behind(request, context)

    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(answer, decode_or_none, handler.response_serializer)
    return grpc.unary_unary_rpc_method_handler(answer, decode_or_none, handler.response_serializer)
