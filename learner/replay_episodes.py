"""The episodes the replay buffer holds, what protects them, and which of them leaves when room is needed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from episodes.outcome import Outcome
from learner.replay_rows import RowStorage
from reward.effective import Verdict


@dataclass(slots=True, eq=False)
class StoredEpisode:
    """An episode, or of one still running that alone overflowed the buffer, its newest part.

    Attributes:
        id: As in the log.
        demonstration: Recorded as a demonstration.
        protected: Counts against the protected rows: a demonstration, or a person acted in it.
        rows: Its rows in time order, one more than it has steps.
        first_step: Index of the step taken from ``rows[0]``.
        clean_from: Index of the first frame whose stack is whole and finite.
        running: Its end has not come.
        recorded: Outcome recorded at its end; None while it runs.
        verdict: The last word on it.
    """

    id: str
    demonstration: bool
    protected: bool
    rows: array = field(default_factory=lambda: array("i"))
    first_step: int = 0
    clean_from: int = 0
    running: bool = True
    recorded: Outcome | None = None
    verdict: Verdict | None = None

    @property
    def next_step(self) -> int:
        """Index of the step that comes next, and of the newest frame."""
        return self.first_step + len(self.rows) - 1

    @property
    def steps(self) -> np.ndarray:
        """Rows that hold a step, int32 of shape (T,)."""
        return np.array(self.rows[:-1], np.int32)


class EpisodeStore:
    """Gives rows to episodes and evicts whole episodes, oldest first, to have some.

    Protected episodes keep to ``protected_rows`` and only they make each other leave. Online episodes have the rest and
    what the protected ones do not use. A running episode stays as long as another can leave; if only running ones are
    left, the oldest of them loses its older half and goes on, so that an environment that never ends an episode still
    trains. Oldest is the one that has been on its side longest.

    Args:
        storage: Where the rows are.
        protected_rows: Most rows of protected episodes.
        max_stack: Most frames of a stack, which a part of an episode cannot have at its beginning.
        on_leave: Called with rows that stop holding a step.
    """

    def __init__(
        self, storage: RowStorage, protected_rows: int, max_stack: int, on_leave: Callable[[Iterable[int]], None]
    ):
        self._storage = storage
        self._protected_rows = protected_rows
        self._max_stack = max_stack
        self._on_leave = on_leave
        self._sides: tuple[dict[str, StoredEpisode], dict[str, StoredEpisode]] = ({}, {})
        self._protected_used = 0
        self.evicted = 0
        self.overflowed = 0

    def __iter__(self) -> Iterator[StoredEpisode]:
        for side in self._sides:
            yield from side.values()

    def get(self, episode_id: str) -> StoredEpisode | None:
        online, protected = self._sides
        return online.get(episode_id) or protected.get(episode_id)

    def add(self, episode: StoredEpisode) -> None:
        self._sides[episode.protected][episode.id] = episode

    def protect(self, episode: StoredEpisode) -> None:
        """Moves an episode to the protected side; no row is copied."""
        del self._sides[False][episode.id]
        self._sides[True][episode.id] = episode
        episode.protected = True
        self._protected_used += len(episode.rows)
        while self._protected_used > self._protected_rows:
            self._make_room(self._sides[True], episode)

    def add_row(self, episode: StoredEpisode) -> int:
        """Gives the episode one more row, which may make another leave or this one lose its beginning."""
        if episode.protected:
            while self._protected_used >= self._protected_rows:
                self._make_room(self._sides[True], episode)
        while not self._storage.free:
            self._make_room(self._sides[False], episode)
        row = self._storage.take()
        episode.rows.append(row)
        self._protected_used += episode.protected
        return row

    def _make_room(self, side: dict[str, StoredEpisode], asking: StoredEpisode) -> None:
        finished = next((e for e in side.values() if not e.running), None)
        if finished is not None:
            del side[finished.id]
            self.evicted += 1
            return self._release(finished, len(finished.rows))
        self.overflowed += 1
        long = next((e for e in side.values() if len(e.rows) > 1), None)
        if long is not None:
            self._forget_half(long)
            return None
        other = next(e for e in side.values() if e is not asking)
        del side[other.id]
        return self._release(other, len(other.rows))

    def _forget_half(self, episode: StoredEpisode) -> None:
        """Frees the older half of an episode. The first steps left lose the frames below them, so they leave too."""
        self._release(episode, len(episode.rows) // 2)
        episode.clean_from = max(episode.clean_from, episode.first_step + self._max_stack - 1)
        unclean = episode.rows[: self._max_stack - 1]
        self._on_leave(unclean)
        for row in unclean:
            self._storage.usable_at[row] = False
        self._storage.preceding_at[episode.rows[0]] = episode.rows[0]

    def _release(self, episode: StoredEpisode, count: int) -> None:
        """Frees the first ``count`` rows of an episode."""
        rows = episode.rows[:count]
        self._on_leave(rows)
        self._storage.give_back(rows)
        self._protected_used -= len(rows) if episode.protected else 0
        episode.rows = episode.rows[count:]
        episode.first_step += count
