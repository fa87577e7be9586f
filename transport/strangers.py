"""Calls without the token: a few at a time, each in its turn, and what they send is read within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from transport.rate import Turns

MAX_STRANGERS = 256
"""Calls without the token at a time, those that wait included; the service has places for 512 others."""
MAX_WATCHES = 16
"""Health streams of those at a time, which end only when the caller wishes."""
MAX_READING = 8
"""Health requests of those that are being read: each may be as large as the largest message."""
STRANGERS = (20.0, 50)
"""Turns a second of them all, and at once after a pause."""
READ_S = 2.0
UNDECODABLE_TEXT = "the bytes are no message of this call: they cannot be decoded"
_LAST_STATUS_S = 0.05


class Strangers:
    """The calls that are answered, or refused, without the token."""

    def __init__(self) -> None:
        self._turns = Turns(*STRANGERS)
        self._reading = asyncio.Semaphore(MAX_READING)
        self._open = 0
        self._watches: set[asyncio.Task[None]] = set()
        self._ended = False

    def health(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """``handler`` of a health call, counted from its headers on: gRPC would first wait for ever for its request."""
        answer = self._watch if handler.response_streaming else self._check

        async def health(_: Any, context: grpc.aio.ServicerContext) -> None:
            async with self._turn(context):
                await answer(handler, context)

        return grpc.stream_stream_rpc_method_handler(health, None, handler.response_serializer)

    def refuse(self, text: str) -> grpc.RpcMethodHandler:
        """A handler that reads nothing, so that it answers calls of every kind."""

        async def refuse(_: Any, context: grpc.aio.ServicerContext) -> None:
            async with self._turn(context):
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, text)

        return grpc.stream_stream_rpc_method_handler(refuse)

    async def end_watches(self) -> None:
        """Ends the health streams, once they have told their last status."""
        self._ended = True
        if self._watches:
            await asyncio.sleep(_LAST_STATUS_S)
        for task in self._watches:
            task.cancel()

    @asynccontextmanager
    async def _turn(self, context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
        """A place, once it is the caller's turn."""
        if self._open >= MAX_STRANGERS:
            text = f"at most {MAX_STRANGERS} calls without the token at a time: try again"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        self._open += 1
        try:
            await self._turns.wait()
            yield
        finally:
            self._open -= 1

    async def _check(self, handler: grpc.RpcMethodHandler, context: grpc.aio.ServicerContext) -> None:
        request = await self._request(handler.request_deserializer, context)
        await context.write(await handler.unary_unary(request, context))

    async def _watch(self, handler: grpc.RpcMethodHandler, context: grpc.aio.ServicerContext) -> None:
        if len(self._watches) >= MAX_WATCHES:
            text = f"at most {MAX_WATCHES} health watches at a time: use Check"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        task = asyncio.create_task(self._watched(handler, context))
        self._watches.add(task)
        try:
            await task
        except asyncio.CancelledError:
            if not self._ended:
                raise
        finally:
            task.cancel()
            self._watches.discard(task)

    async def _watched(self, handler: grpc.RpcMethodHandler, context: grpc.aio.ServicerContext) -> None:
        await handler.unary_stream(await self._request(handler.request_deserializer, context), context)

    async def _request(self, decode: Callable[[bytes], Any], context: grpc.aio.ServicerContext) -> Any:
        async with self._reading:
            try:
                data = await asyncio.wait_for(context.read(), READ_S)
            except TimeoutError:
                text = f"the request of a health call must come within {READ_S:g} s of its headers"
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, text)
        try:
            return decode(data)
        except (DecodeError, TypeError):  # the second for a call that ended without any
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, UNDECODABLE_TEXT)
