"""\"That was wrong\": what a person says of an episode that has ended, as an amendment of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import cast

from actor.episode import Episode
from actor.rewarding import verdict_of
from envs.teleop.operator import Event
from episodes.outcome import Outcome
from transport import records_pb2 as pb


def amend(
    episode: Episode | None,
    events: Iterable[Event],
    author: str,
    send: Callable[[pb.Amendment], None],
    say: Callable[[str], None],
) -> None:
    """Sends the amendment that a person asks for, and says so; does nothing before the first episode has ended."""
    amendment = None if episode is None else amended(episode, events, author)
    if amendment is not None:
        send(amendment)
        say(f"the last episode was a {Outcome(amendment.outcome).name.lower()}, says the {author}")


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
