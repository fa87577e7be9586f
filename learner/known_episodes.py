"""The episodes of a run's log, so that each id is taken once and only a logged episode is amended."""

from __future__ import annotations

import threading

from episodes.log import EpisodeLog
from episodes.spool_position import RecordError
from learner.ingest_spool import Batch
from transport import records_pb2 as pb

MAX_UNHEARD_EVALUATIONS = 1 << 20


class KnownEpisodes:
    """Ids seen; about 150 bytes an episode, of which the log has kilobytes.

    Of a process before this one, episodes that had ended are known as ``note`` comes to them, or when one is asked for.

    Args:
        log: Of the run.
    """

    def __init__(self, log: EpisodeLog):
        self._log = log
        self._ids = {position.episode_id for position in log.positions().values()}
        self._unread = log.watermarks()
        self._reading = threading.Lock()
        self._newest_evaluation = 0

    def note(self, entry: pb.LogEntry) -> None:
        """Takes an entry of an earlier process. May be called from any thread."""
        if entry.record.HasField("start"):
            self._ids.add(entry.record.start.episode_id)
            self._newest_evaluation = max(self._newest_evaluation, entry.record.start.evaluation_id)
        if self._unread.get(entry.spool_id) == entry.record.sequence:
            self._unread.pop(entry.spool_id, None)

    def knows(self, episode_id: str) -> bool:
        """Whether the log has the episode, or will. Call off the event loop.

        The first unknown one has the log read, unless all of it came to ``note`` before.
        """
        if episode_id not in self._ids:
            with self._reading:
                for _, entry in self._log.read() if self._unread else ():
                    self.note(entry)
                    if not self._unread:
                        break
        return episode_id in self._ids

    def check_new(self, start: pb.EpisodeStart, batch: Batch) -> None:
        """Notes a start in ``batch``.

        Raises RecordError unless the episode's id is new, and its evaluation one that may have been asked for.
        """
        if start.episode_id in self._ids or start.episode_id in batch.started:
            raise RecordError(f"start.episode_id must be a new one. Got: {start.episode_id!r}, which was used before")
        batch.started.add(start.episode_id)
        newest = max(self._newest_evaluation, batch.newest_evaluation)
        # An earlier process may have asked for some that nobody began. One record cannot use up all ids to come.
        if start.evaluation_id > newest + MAX_UNHEARD_EVALUATIONS:
            raise RecordError(
                f"start.evaluation_id must be one asked for. Got: {start.evaluation_id}, newest: {newest}"
            )
        batch.newest_evaluation = max(newest, start.evaluation_id)

    def take(self, batch: Batch) -> None:
        """Takes the starts of a batch that is on its way to the log."""
        self._ids |= batch.started
        self._newest_evaluation = max(self._newest_evaluation, batch.newest_evaluation)
