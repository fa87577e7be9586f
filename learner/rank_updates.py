"""Updates made by all ranks: what rank 0 tells the others, and how they follow."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch

from learner.algorithms.ranks import RankBatch, averaged_metrics
from learner.rank_batch import BatchLayout, whole_batch
from learner.rank_watch import RankError, RankWatch
from learner.rank_wire import (
    digest,
    gathered,
    leave,
    receive,
    receive_command,
    send,
    send_command,
    tensor_bytes,
    tensors_of,
)

if TYPE_CHECKING:
    from torch import Tensor

    from learner.algorithms import Algorithm
    from learner.distributed import Ranks
    from learner.windows import Batch
    from policies.normalization import Statistics
    from policies.snapshot import Snapshot

UPDATE, CLONE, LOAD, CHECK, END = range(5)


class LedAlgorithm:
    """Rank 0's algorithm: whatever changes its weights is done by all ranks.

    Its other attributes are those of the algorithm.
    """

    def __init__(self, algorithm: Algorithm, ranks: Ranks, watch: RankWatch):
        self._algorithm = algorithm
        self._ranks = ranks
        self._watch = watch
        self._layouts: dict[int, bytes] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._algorithm, name)

    def update(self, batch: Batch, actor: bool | None = None) -> dict[str, Tensor]:
        return self._all(lambda: self._share(UPDATE, batch, actor))

    def images_wanted(self, batch: Batch) -> None:
        """All: every rank keeps features of its own."""

    def clone(self, batch: Batch) -> dict[str, Tensor]:
        return self._all(lambda: self._share(CLONE, batch, None))

    def freeze_statistics(self, statistics: Statistics) -> None:
        self._algorithm.freeze_statistics(statistics)
        self.load()

    def load_policy(self, snapshot: Snapshot) -> None:
        self._algorithm.load_policy(snapshot)
        self.load()

    def load_state(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        self._algorithm.load_state(tensors, meta)
        self.load()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """As the algorithm's. Raises RankError, naming the rank, where not all have the same."""
        return self._all(self._checked_state)

    def load(self) -> None:
        """Gives every rank the state of rank 0."""
        self._all(self._load)

    def end_ranks(self) -> None:
        """Lets the other ranks end."""
        self._watch.close()
        self._all(lambda: send_command(END, 0, 0))
        leave()

    def _share(self, command: int, batch: Batch, actor: bool | None) -> dict[str, Tensor]:
        algorithm, count = self._algorithm, self._ranks.count
        cut = whole_batch(batch, algorithm.spec, algorithm.device, count, following=command == UPDATE)
        layout = BatchLayout.of(cut, count)
        described = layout.to_json()
        known = self._layouts.get(command) == described
        self._layouts[command] = described
        send_command(command, -1 if actor is None else int(actor), 0 if known else 1)
        if not known:
            send(described)
        return _make(algorithm, command, layout.scatter(cut, count), actor)

    def _load(self) -> None:
        tensors, meta = self._algorithm.state()
        send_command(LOAD, 0, 0)
        send(json.dumps(meta).encode())
        send(b"".join(tensor_bytes(tensors[name]) for name in sorted(tensors)))

    def _checked_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        send_command(CHECK, 0, 0)
        tensors, meta = self._algorithm.state()
        digests = gathered(digest(tensors), self._ranks)
        strange = [rank for rank, found in enumerate(digests) if found != digests[0]]
        if strange:
            raise RankError(
                f"rank {strange[0]} has other weights than rank 0 after {self._algorithm.updates} updates, so no "
                "checkpoint is written of them. Start the learner again: it goes on from the last checkpoint"
            )
        return tensors, meta

    def _all[T](self, do: Callable[[], T]) -> T:
        try:
            return do()
        except (RankError, torch.OutOfMemoryError):
            raise
        except RuntimeError as error:
            explained = self._watch.explain(error)
            if explained is error:
                raise
            raise explained from error


def follow_updates(algorithm: Algorithm, ranks: Ranks) -> None:
    """Does with ``algorithm`` what rank 0 does with its own, until that ends the run."""
    layouts: dict[int, BatchLayout] = {}
    while True:
        command, actor, described = receive_command(3)
        if command == END:
            return
        if command == CHECK:
            gathered(digest(algorithm.state()[0]), ranks)
        elif command == LOAD:
            meta = json.loads(receive())
            algorithm.load_state(tensors_of(receive(), algorithm.state()[0]), meta)
        else:
            if described:
                layouts[command] = BatchLayout.from_json(receive())
            share = layouts[command].receive(algorithm.device)
            _make(algorithm, command, share, None if actor < 0 else bool(actor))


def _make(algorithm: Algorithm, command: int, share: RankBatch, actor: bool | None) -> dict[str, Tensor]:
    batch = cast("Batch", share)
    return averaged_metrics(algorithm.clone(batch) if command == CLONE else algorithm.update(batch, actor))
