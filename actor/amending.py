"""\"That was wrong\": what a person says of an episode that has ended, as an amendment of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import cast

from actor.episode import Episode
from actor.rewarding import verdict_of
from envs.teleop.operator import Event
from episodes.outcome import Outcome
from transport import records_pb2 as pb


def amended(episode: Episode, events: Iterable[Event], author: str) -> pb.Amendment | None:
    """The amendment that the keys of success, failure and discard ask for; None where they say nothing new.

    Args:
        episode: That has ended.
        events: Said since.
        author: ``person`` or ``operator``.
    """
    events = tuple(events)
    outcome = Outcome.DISCARDED if Event.DISCARD in events else verdict_of(events)
    if outcome is None or outcome is episode.outcome or not episode.steps:
        return None
    episode.outcome = outcome
    return pb.Amendment(
        episode_id=episode.episode_id,
        author=author,
        time_ns=time.time_ns(),
        outcome=cast(pb.Outcome, int(outcome)),
        step=episode.steps - 1,
    )
