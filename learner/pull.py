"""The open PullPolicy calls: each waits until there is something newer, and is sent the newest of that moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator

import grpc
from grpc.aio import ServicerContext as Context

from learner.publisher import PolicyPublisher, PublishedPolicy
from learner.refusals import abort, stopping
from transport import service_pb2 as pb

CHUNK_S = 60.0
"""How long a caller may take over a chunk of a policy [s], which the learner keeps in memory as long as it is sent."""
PULLS_OF_A_SPOOL = 2
"""The newest: the other is that of a connection which its actor has lost."""


class Pull:
    """One open PullPolicy.

    Attributes:
        changed: Set when there may be something newer.
        limit: Until when it may last.
        done: Whether all of a policy was sent.
        superseded: Whether newer calls of its spool ended it.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.limit = asyncio.timeout(None)
        self.done = self.superseded = False

    def lasts(self, seconds: float) -> None:
        """From now; a call that was superseded ends as it is."""
        if not (self.superseded or self.limit.expired()):
            self.limit.reschedule(asyncio.get_running_loop().time() + seconds)


class PullStreams:
    """Everything but the constructor is called in the service's event loop."""

    def __init__(self, publisher: PolicyPublisher):
        self._publisher = publisher
        self._open: defaultdict[str, list[Pull]] = defaultdict(list)
        self._stopping = False

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def wake(self) -> None:
        """Something was published."""
        for pulls in self._open.values():
            for pull in pulls:
                pull.changed.set()

    def stop(self) -> None:
        """Ends every open call."""
        self._stopping = True
        self.wake()

    async def serve(self, request: pb.PullPolicyRequest, context: Context) -> None:
        """One PullPolicy, from its request to its end."""
        pull = Pull()
        await context.send_initial_metadata(())  # else a first chunk that ends in between would leave no status
        await self._send(pull, request, context)
        # A status waits, like a chunk, until the caller reads; the policy is let go by now.
        if pull.superseded:
            await abort(context, grpc.StatusCode.ABORTED, "newer PullPolicy calls of this spool took over")
        if not pull.done and self._stopping:
            await stopping(context)
        if not pull.done:
            text = f"a chunk of the policy was not taken within {CHUNK_S:g} s: ask again for the newest"
            await abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, text)

    async def _send(self, pull: Pull, request: pb.PullPolicyRequest, context: Context) -> None:
        """Sends what the caller lacks, once there is such a thing, unless ``pull`` ends before."""
        with contextlib.suppress(TimeoutError):
            async with pull.limit:
                with self._opened(pull, request.spool_id):
                    while (policy := self._newer(request)) is None:
                        if self._stopping:
                            return
                        await pull.changed.wait()
                        pull.changed.clear()
                    for chunk in policy.chunks(request.have_frozen):
                        if self._stopping:
                            return
                        pull.lasts(CHUNK_S)
                        await context.write(chunk)
                    pull.done = True

    @contextlib.contextmanager
    def _opened(self, pull: Pull, spool_id: str) -> Iterator[None]:
        pulls = self._open[spool_id]
        pulls.append(pull)
        for older in pulls[:-PULLS_OF_A_SPOOL]:
            older.lasts(0.0)
            older.superseded = True
        try:
            yield
        finally:
            pulls.remove(pull)
            if not pulls:
                del self._open[spool_id]

    def _newer(self, request: pb.PullPolicyRequest) -> PublishedPolicy | None:
        """What the caller lacks; the classifier first, without which it neither acts nor evaluates."""
        if request.wants_reward and (reward := self._publisher.newer_reward(request.have_reward)) is not None:
            return reward
        return self._publisher.newer(request.spool_id, request.have_version, request.have_evaluation)
