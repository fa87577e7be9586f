"""The learner's gRPC server: a thread and an event loop of its own beside the update loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from episodes.contract import Contract
from learner.ingest import Ingest
from learner.publisher import PolicyPublisher
from learner.servicer import LearnerServicer
from transport import service_pb2 as pb
from transport import service_pb2_grpc
from transport.certificates import Identity
from transport.gate import TokenInterceptor
from transport.priority import give_way
from transport.push import add_push
from transport.server import (
    MAX_CONCURRENT_CALLS,
    bind,
    check_encrypted,
    check_free,
    place_of,
    server_options,
)

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 8 << 20
_RECORD_BYTES = 64 << 10
SERVICE = "tandem.v1.Learner"


class LearnerServer:
    """Serves one run until stopped."""

    def __init__(
        self,
        address: str,
        token: str,
        run: pb.RunDescription,
        ingest: Ingest,
        publisher: PolicyPublisher,
        status_fn: Callable[[], pb.Status],
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        *,
        serving: bool = True,
        identity: Identity | None = None,
        mutual: bool = False,
    ):
        """Binds nothing yet.

        Args:
            address: ``host:port``; loopback without an ``identity``; port 0 takes a free one.
            token: Asked of every call but health.
            run: Answer to Describe; Join compares with its contract.
            ingest: Takes the records.
            publisher: Holds the policies.
            status_fn: Called in the service's thread for GetStatus; must return within milliseconds.
            max_message_bytes: Larger messages are refused; raised where one record of the contract needs more.
            serving: Whether health says SERVING from the start, or NOT_SERVING until ``set_serving``.
            identity: The learner's certificate; None for plain text.
            mutual: Whether clients must show a certificate of the same authority.

        Raises BindError for plain text on an address that is not loopback.
        """
        self._place = place_of(address)
        check_encrypted(self._place, identity)
        self._identity, self._mutual = identity, mutual
        self._token = token
        observation_bytes = sum(f.nbytes for f in Contract.from_message(run.contract).stored)
        max_message_bytes = max(max_message_bytes, observation_bytes + _RECORD_BYTES)
        self._max_message_bytes = max_message_bytes
        self._servicer = LearnerServicer(run, ingest, publisher, status_fn, max_message_bytes)
        self._ingest, self._publisher = ingest, publisher
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._grace_s = 0.5
        self._serving = asyncio.Event()
        if serving:
            self._serving.set()
        self._ready = threading.Event()
        self._failure: BaseException | None = None

    @property
    def port(self) -> int:
        """The bound port, after ``start``."""
        return self._place.port

    def start(self) -> int:
        """Returns the bound port once calls are answered. Raises BindError when the port is taken."""
        check_free(self._place)
        self._thread = threading.Thread(target=self._run, name="learner-service", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self._place.port

    def set_serving(self) -> None:
        """Health says SERVING from now on: version 0 of the policy is there."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._serving.set)

    def stop(self, grace_s: float = 0.5) -> None:
        """Ends every stream (UNAVAILABLE, or OK for actors of a finished run) and the thread. May be called twice."""
        if self._thread is None or not self._thread.is_alive() or self._loop is None or self._stop is None:
            return
        self._grace_s = grace_s
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(grace_s + 1.0)

    def _run(self) -> None:
        give_way()
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
            if self._ready.is_set():
                logger.exception("the learner's service ended")
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        interceptor = TokenInterceptor(self._token)
        server = grpc.aio.server(
            interceptors=[interceptor],
            options=server_options(self._max_message_bytes),
            maximum_concurrent_rpcs=MAX_CONCURRENT_CALLS,
        )
        self._place = self._place._replace(port=bind(server, self._place, self._identity, mutual=self._mutual))
        service_pb2_grpc.add_LearnerServicer_to_server(self._servicer, server)
        add_push(server, self._servicer.Push)
        health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        reflection.enable_server_reflection((SERVICE, "grpc.health.v1.Health", reflection.SERVICE_NAME), server)
        self._servicer.attach(self._loop)
        await server.start()
        await _set_health(health, serving=self._serving.is_set())
        self._ready.set()
        becoming = asyncio.create_task(self._become_serving(health))
        await self._stop.wait()
        becoming.cancel()
        await health.enter_graceful_shutdown()
        self._servicer.detach()
        await interceptor.end_watches()
        await server.stop(self._grace_s)

    async def _become_serving(self, health: HealthServicer) -> None:
        await self._serving.wait()
        await _set_health(health, serving=True)


async def _set_health(health: HealthServicer, *, serving: bool) -> None:
    status = health_pb2.HealthCheckResponse
    for name in ("", SERVICE):
        await health.set(name, status.SERVING if serving else status.NOT_SERVING)
