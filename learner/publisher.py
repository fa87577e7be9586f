"""The newest policy, for whoever asks: nothing is queued, a slow caller skips versions."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from learner.acting_lag import ActingLag
from transport import service_pb2 as pb

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class FrozenPart:
    """What never changes of a run's policy, and goes to each actor once."""

    payload: bytes

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal digest of the payload; empty where there is none."""
        return hashlib.sha256(self.payload).hexdigest() if self.payload else ""


@dataclass(frozen=True)
class PublishedPolicy:
    """One policy as it goes over the wire.

    Attributes:
        use: ``POLICY_USE_ACTING``, ``POLICY_USE_EVALUATION`` or, of a success classifier, ``POLICY_USE_REWARD``.
        payload: Safetensors of ``policies.snapshot``, without the frozen part, or of ``reward.storage``.
        evaluation_id, episodes, first_seed: Of an evaluation request; 0 for acting.
        frozen: The frozen part that belongs to it.
        reward_name: Of a classifier.
    """

    use: pb.PolicyUse
    version: int
    payload: bytes
    evaluation_id: int = 0
    episodes: int = 0
    first_seed: int = 0
    frozen: FrozenPart = FrozenPart(b"")
    reward_name: str = ""

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal digest of the payload, computed when it is first asked for."""
        return hashlib.sha256(self.payload).hexdigest()

    def chunks(self, have_frozen: str = "") -> Iterator[pb.PolicyChunk]:
        """At least one chunk, each of at most CHUNK_BYTES of payload; the first describes the whole.

        The frozen part comes first, unless the caller has it: ``have_frozen`` is the SHA-256 of the one it has.
        """
        frozen = b"" if have_frozen == self.frozen.sha256 else self.frozen.payload
        parts = chain(
            (pb.PolicyChunk(frozen=part) for part in _cut(frozen)),
            (pb.PolicyChunk(data=part) for part in _cut(self.payload)),
        )
        first = next(parts, pb.PolicyChunk())
        first.MergeFrom(
            pb.PolicyChunk(
                use=self.use,
                version=self.version,
                total_bytes=len(self.payload),
                sha256=self.sha256,
                evaluation_id=self.evaluation_id,
                evaluation_episodes=self.episodes,
                evaluation_first_seed=self.first_seed,
                frozen_sha256=self.frozen.sha256,
                frozen_bytes=len(frozen),
                reward_name=self.reward_name,
            )
        )
        yield first
        yield from parts


class PolicyPublisher:
    """The update loop publishes, the service's thread takes. All methods may be called from any thread.

    Attributes:
        lag: How long it takes until a version acts.
    """

    def __init__(self) -> None:
        self.lag = ActingLag()
        self._lock = threading.Lock()
        self._acting: PublishedPolicy | None = None
        self._evaluation: tuple[str, PublishedPolicy] | None = None
        self._frozen = FrozenPart(b"")
        self._reward: PublishedPolicy | None = None
        self._on_change: Callable[[], None] = lambda: None

    def on_change(self, callback: Callable[[], None]) -> None:
        """``callback`` is called, from any thread, after something was published."""
        self._on_change = callback

    @property
    def version(self) -> int | None:
        """The newest acting version; None before the first."""
        acting = self._acting
        return None if acting is None else acting.version

    def set_frozen(self, payload: bytes) -> None:
        """The frozen part of every policy from now on; empty for none."""
        with self._lock:
            self._frozen = FrozenPart(bytes(payload))

    def publish(self, version: int, payload: bytes) -> None:
        """Makes ``payload`` the acting policy. Raises ValueError unless ``version`` is above the last."""
        with self._lock:
            if self._acting is not None and version <= self._acting.version:
                raise ValueError(f"policy version must be above {self._acting.version}. Got: {version}")
            self._acting = PublishedPolicy(pb.POLICY_USE_ACTING, version, bytes(payload), frozen=self._frozen)
        self.lag.published(version)
        self._on_change()

    def publish_reward(self, name: str, payload: bytes) -> None:
        """Makes ``payload`` the success classifier of the actors that are rewarded by one."""
        with self._lock:
            version = 1 if self._reward is None else self._reward.version + 1
            self._reward = PublishedPolicy(pb.POLICY_USE_REWARD, version, bytes(payload), reward_name=name)
        self._on_change()

    def newer_reward(self, have_sha256: str) -> PublishedPolicy | None:
        """The success classifier, unless the caller has it; None where there is none."""
        with self._lock:
            reward = self._reward
        return reward if reward is not None and reward.sha256 != have_sha256 else None

    def request_evaluation(
        self, evaluation_id: int, version: int, payload: bytes, episodes: int, first_seed: int, spool_id: str
    ) -> None:
        """Asks the actor of ``spool_id``, and no other, to evaluate. The newest request stands alone.

        Ask again with the same ``evaluation_id`` to hand it to another spool. Raises ValueError where ``evaluation_id``
        is below 1 or below the last.
        """
        with self._lock:
            last = self._evaluation[1].evaluation_id if self._evaluation else 0
            if evaluation_id < max(1, last):
                raise ValueError(f"evaluation_id must be at least {max(1, last)}. Got: {evaluation_id}")
            request = PublishedPolicy(
                pb.POLICY_USE_EVALUATION, version, bytes(payload), evaluation_id, episodes, first_seed, self._frozen
            )
            self._evaluation = spool_id, request
        self._on_change()

    def newer(self, spool_id: str, have_version: int, have_evaluation: int) -> PublishedPolicy | None:
        """What this caller lacks, an evaluation for it first, or None. ``have_version`` is the newest held, plus 1."""
        with self._lock:
            if self._evaluation is not None:
                chosen, request = self._evaluation
                if chosen == spool_id and request.evaluation_id > have_evaluation:
                    return request
            if self._acting is not None and self._acting.version + 1 > have_version:
                return self._acting
            return None


def _cut(payload: bytes) -> Iterator[bytes]:
    return (payload[start : start + CHUNK_BYTES] for start in range(0, len(payload), CHUNK_BYTES))
