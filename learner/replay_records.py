"""Brings the records of the log into the rows and views of the replay buffer, in log order."""

from __future__ import annotations

import math
from collections.abc import Iterable

from episodes.outcome import Purpose
from learner.replay_episodes import EpisodeStore, StoredEpisode
from learner.replay_rows import RowStorage
from learner.row_set import RowSet
from reward.effective import (
    Verdict,
    effective,
    recorded_outcome,
    step_reward,
    verdict_of_amendment,
    verdict_of_end,
)
from transport import records_pb2 as pb


class ReplayRecords:
    """Stores episodes and keeps, for each view, the rows from which a window may start.

    A step from or to an observation that is not finite, anywhere in its frame stack, is not usable; nor is one whose
    action or reward is not finite, one that was held, or one that was interrupted.

    Attributes:
        episodes: What is stored.
        online: Rows of the steps of the run's actors, human ones included.
        demonstrations: Rows of the steps of demonstrations, and of human steps.
        counts: ``held_steps`` and ``interrupted_steps`` of training and demonstration episodes; ``misplaced_entries``:
            starts, steps and ends out of their place in an episode, ignored; ``unknown_amendments``: of episodes that
            were evicted or never stored, ignored.
    """

    def __init__(self, storage: RowStorage, *, protected_rows: int, max_stack: int, cut_at_takeover: bool):
        self._storage = storage
        self._max_stack = max_stack
        self._cut_at_takeover = cut_at_takeover
        self._evaluations: set[str] = set()
        self.episodes = EpisodeStore(storage, protected_rows, max_stack, self._leave)
        self.online = RowSet(storage.capacity)
        self.demonstrations = RowSet(storage.capacity)
        self.counts = {"held_steps": 0, "interrupted_steps": 0, "misplaced_entries": 0, "unknown_amendments": 0}

    def apply(self, record: pb.Record) -> None:
        body = record.WhichOneof("body")
        if body == "step":
            self._step(record.step)
        elif body == "start":
            self._start(record.start)
        elif body == "end":
            self._end(record.end)
        elif body == "amendment":
            self._amend(record.amendment)

    def _start(self, start: pb.EpisodeStart) -> None:
        if start.purpose == Purpose.EVALUATION:
            self._evaluations.add(start.episode_id)
            return
        if self.episodes.get(start.episode_id) is not None:
            self.counts["misplaced_entries"] += 1
            return
        demonstration = start.purpose == Purpose.DEMONSTRATION
        episode = StoredEpisode(start.episode_id, demonstration, protected=demonstration)
        self.episodes.add(episode)
        row = self.episodes.add_row(episode)
        if not self._storage.write_observation(row, start.observation, row):
            episode.clean_from = self._max_stack

    def _step(self, step: pb.Step) -> None:
        episode = self.episodes.get(step.episode_id)
        if episode is None or not episode.running or step.index != episode.next_step:
            self.counts["misplaced_entries"] += step.episode_id not in self._evaluations
            return
        human, held, reward = step.human, bool(step.held), step_reward(step.rewards)
        self.counts["held_steps"] += held
        if human and not episode.protected:
            self.episodes.protect(episode)
        if step.interrupted:
            self.counts["interrupted_steps"] += 1
            return
        following = self.episodes.add_row(episode)
        row, frame = episode.rows[-2], episode.next_step
        clean = frame > episode.clean_from
        s = self._storage
        if not s.write_observation(following, step.observation, row):
            episode.clean_from = frame + self._max_stack
            clean = False
        chosen = step.chosen
        usable = clean and not held and math.isfinite(reward) and math.isfinite(sum(chosen))
        s.write_action(row, chosen, step.proposed)
        s.reward_at[row] = s.recorded_reward_at[row] = reward
        s.terminated_at[row] = s.recorded_terminated_at[row] = step.terminated
        s.recorded_truncated_at[row] = step.truncated
        s.human_at[row] = human
        s.taken_over_at[row] = False
        if len(episode.rows) > 2:
            before = episode.rows[-3]
            s.taken_over_at[before] = human and not s.human_at[before]
        s.usable_at[row] = usable
        s.following_at[row] = following
        if episode.verdict is not None:
            self._refresh(episode)
        elif usable:
            if len(episode.rows) > 2:
                self._link(episode.rows[-3], row)
            self._enter(episode, row)

    def _link(self, before: int, row: int) -> None:
        """Lets a window that holds the step at ``before`` go on with the usable one at ``row``, where it may."""
        s = self._storage
        s.continues_at[before] = (
            not s.recorded_terminated_at[before]
            and not s.recorded_truncated_at[before]
            and (not self._cut_at_takeover or s.human_at[before] == s.human_at[row])
        )

    def _end(self, end: pb.EpisodeEnd) -> None:
        episode = self.episodes.get(end.episode_id)
        if episode is None or not episode.running:
            self.counts["misplaced_entries"] += end.episode_id not in self._evaluations
            self._evaluations.discard(end.episode_id)
            return
        episode.running = False
        terminated, reward = False, 0.0
        if len(episode.rows) > 1:
            last = episode.rows[-2]
            terminated, reward = self._storage.recorded_terminated_at[last], self._storage.recorded_reward_at[last]
        episode.recorded = recorded_outcome(end, terminated, reward)
        episode.verdict = verdict_of_end(end) or episode.verdict
        if episode.verdict is not None:
            self._refresh(episode)

    def _amend(self, amendment: pb.Amendment) -> None:
        episode = self.episodes.get(amendment.episode_id)
        verdict = verdict_of_amendment(amendment)
        if episode is None or verdict is None:
            self.counts["unknown_amendments"] += 1
            return
        episode.verdict = verdict
        self._refresh(episode)

    def _refresh(self, episode: StoredEpisode) -> None:
        """Computes the effective steps of an episode anew, after the last word on it changed."""
        s, rows, verdict = self._storage, episode.steps, episode.verdict
        if verdict is not None and verdict.step is not None:
            verdict = Verdict(verdict.outcome, verdict.step - episode.first_step)
        steps = effective(
            s.recorded_reward[rows],
            s.recorded_terminated[rows],
            s.recorded_truncated[rows],
            recorded=episode.recorded,
            verdict=verdict,
        )
        s.reward[rows] = steps.reward
        s.terminated[rows] = steps.terminated
        drawn = s.usable[rows] & steps.sampled
        goes_on = drawn[1:] & ~steps.terminated[:-1] & ~steps.truncated[:-1]
        if self._cut_at_takeover:
            goes_on &= s.human[rows[:-1]] == s.human[rows[1:]]
        s.continues[rows[:-1]] = goes_on
        for row, is_drawn in zip(rows.tolist(), drawn.tolist(), strict=True):
            if is_drawn:
                self._enter(episode, row)
            else:
                self._leave((row,))

    def _enter(self, episode: StoredEpisode, row: int) -> None:
        if not episode.demonstration:
            self.online.add(row)
        if episode.demonstration or self._storage.human_at[row]:
            self.demonstrations.add(row)

    def _leave(self, rows: Iterable[int]) -> None:
        for row in rows:
            self.online.discard(row)
            self.demonstrations.discard(row)
