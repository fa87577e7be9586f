"""Scheduled evaluations: when one is due, who runs it, what came of it, and which is best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from episodes.outcome import Purpose
from episodes.seeds import SeedStream, start_seed
from learner.config import EvaluationConfig
from learner.episode_metrics import EpisodeRecord
from transport import records_pb2 as pb


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        evaluation_id: As on the wire and in the log.
        version: Policy version published last when the evaluated weights, a moving average, were taken.
        env_steps: Environment steps when it was asked for.
        updates: Updates then.
        checkpoint: Name of the checkpoint that holds exactly the weights evaluated.
        successes: Successful episodes.
        episodes: Episodes.
        cycle_steps: Mean steps of the successful episodes; None where none succeeded.
        episode_return: Mean undiscounted return of all its episodes.
    """

    evaluation_id: int
    version: int
    env_steps: int
    updates: int
    checkpoint: str
    successes: int
    episodes: int
    cycle_steps: float | None
    episode_return: float

    @property
    def success_rate(self) -> float:
        return self.successes / self.episodes

    @property
    def rank(self) -> tuple[float, float, float]:
        """Greater is better: by success, then by the shorter cycle, then by return: of tasks without success."""
        cycle = -self.cycle_steps if self.cycle_steps is not None else float("-inf")
        return self.success_rate, cycle, self.episode_return


def result_from(values: Mapping[str, Any]) -> EvaluationResult:
    """A result from its JSON values; other keys are left out."""
    return EvaluationResult(**{f.name: values[f.name] for f in fields(EvaluationResult)})


@dataclass(slots=True)
class EvaluationRequest:
    """An evaluation that an actor was asked for.

    Attributes:
        payload: The policy evaluated (``policies.snapshot``).
        first_seed: Start seed of its first episode; the others follow.
        spool_id: Spool of the actor asked.
        heard_s: When it was asked, or something of the evaluation was last in the log [monotonic s].
        episodes: Episodes ended so far.
        The others: as in EvaluationResult.
    """

    evaluation_id: int
    version: int
    env_steps: int
    updates: int
    checkpoint: str
    payload: bytes
    first_seed: int
    spool_id: str
    heard_s: float
    episodes: list[EpisodeRecord] = field(default_factory=list)


class EvaluationSchedule:
    """One evaluation at a time, every so many environment steps, by one actor.

    Attributes:
        pending: The evaluation asked for and not over, or None.
        results: In order.
        best: The best result so far, or None.

    Args:
        config: Settings.
        seed: Seed of the run; start states come from its SELECTION stream.
    """

    def __init__(self, config: EvaluationConfig, seed: int):
        self.config = config
        self.pending: EvaluationRequest | None = None
        self.results: list[EvaluationResult] = []
        self.best: EvaluationResult | None = None
        self._seed = seed
        self._next_at = config.every_env_steps
        self._last_id = 0
        self._open: dict[str, int] = {}

    @property
    def last(self) -> list[EvaluationResult]:
        """The newest ``in_a_row`` results: those that may end training."""
        return self.results[-self.config.in_a_row :]

    @property
    def candidates(self) -> list[str]:
        """Checkpoints that are, or may yet become, the best: what is not among them no evaluation needs any more."""
        reached = [result for result in self.last if result.success_rate >= self.config.success_mark]
        return [kept.checkpoint for kept in (self.best, self.pending, *reached) if kept is not None]

    def due(self, env_steps: int) -> bool:
        """Whether an evaluation is to be asked for now."""
        return bool(self.config.every_env_steps) and self.pending is None and env_steps >= self._next_at

    def ask(
        self,
        *,
        version: int,
        env_steps: int,
        updates: int,
        checkpoint: str,
        payload: bytes,
        spool_id: str,
        now_s: float,
    ) -> EvaluationRequest:
        """A new request, for ``publisher.request_evaluation``."""
        every = self.config.every_env_steps
        self._next_at = (env_steps // every + 1) * every
        # The starts depend on which evaluation this is, not on how often it had to be asked for.
        first_seed = start_seed(self._seed, SeedStream.SELECTION, "", len(self.results))
        self._last_id += 1
        self.pending = EvaluationRequest(
            self._last_id, version, env_steps, updates, checkpoint, payload, first_seed, spool_id, now_s
        )
        return self.pending

    def silent(self, present: Iterable[str], now_s: float) -> bool:
        """Whether the pending evaluation is to be given to another actor: its own left, or nothing was heard of it."""
        request = self.pending
        if request is None:
            return False
        return request.spool_id not in set(present) or now_s - request.heard_s > self.config.patience_s

    def ask_again(self, spool_id: str, now_s: float) -> EvaluationRequest:
        """The pending evaluation from its beginning, under a new id, for the actor of ``spool_id``."""
        request = self.pending
        assert request is not None
        self._last_id += 1
        request.evaluation_id, request.spool_id, request.heard_s = self._last_id, spool_id, now_s
        request.episodes = []
        return request

    def skip_ids(self, newest: int) -> None:
        """Ids up to ``newest`` are in the log already."""
        self._last_id = max(self._last_id, newest)

    def apply(self, entry: pb.LogEntry, ended: EpisodeRecord | None, now_s: float) -> EvaluationResult | None:
        """Takes the next entry of the log, and the episode it ended. Returns a result when it completes one."""
        request = self.pending
        if request is None:
            return None
        body = entry.record.WhichOneof("body")
        if body == "start" and entry.record.start.evaluation_id == request.evaluation_id:
            request.heard_s = now_s
            self._open = {entry.record.start.episode_id: request.evaluation_id}
        elif body == "step" and entry.record.step.episode_id in self._open:
            request.heard_s = now_s
        elif (
            body == "end"
            and ended is not None
            and ended.purpose == Purpose.EVALUATION
            and ended.evaluation_id == request.evaluation_id
            and ended.counted
        ):
            request.heard_s = now_s
            request.episodes.append(ended)
            if len(request.episodes) == self.config.episodes:
                return self._close(request)
        return None

    def _close(self, request: EvaluationRequest) -> EvaluationResult:
        cycles = [e.cycle_steps for e in request.episodes if e.success]
        result = EvaluationResult(
            request.evaluation_id,
            request.version,
            request.env_steps,
            request.updates,
            request.checkpoint,
            len(cycles),
            len(request.episodes),
            float(np.mean(cycles)) if cycles else None,
            float(np.mean([e.effective_rewards().sum() for e in request.episodes])),
        )
        self.results.append(result)
        if self.best is None or result.rank > self.best.rank:
            self.best = result
        self.pending = None  # last: the checkpoint writer may ask for ``candidates`` at any moment
        return result

    def state(self) -> dict[str, Any]:
        """JSON values. A pending evaluation is not part of it: it is asked for again."""
        pending_from = self.pending.env_steps if self.pending else None
        return {
            "next_at": self._next_at if pending_from is None else pending_from,
            "last_id": self._last_id,
            "results": [asdict(r) for r in self.results],
            "best": asdict(self.best) if self.best else None,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._next_at, self._last_id = state["next_at"], state["last_id"]
        self.results = [result_from(r) for r in state["results"]]
        self.best = result_from(state["best"]) if state["best"] else None
        self.pending = None
