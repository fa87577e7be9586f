"""Who has the name of an actor: one spool at a time, and of two that come back the one that got it last."""

from __future__ import annotations

import time
from collections.abc import Sequence

from learner.ingest_spool import NameTakenError, Spool

JOINED_HOLDS_NAME_S = 3.0
"""How long a Join keeps its actor's name for it before its Push is there [s]."""
_MOST_CLAIM = 1 << 62


class Claims:
    """Numbers the actors of a run in the order in which they got their names.

    An actor shows its number when it joins again, so a learner that was started again need not have kept it.
    """

    def __init__(self) -> None:
        self._last = 0

    def settle(
        self,
        spool: Spool,
        others: Sequence[Spool],
        log_end: int,
        actor: str,
        *,
        takeover: bool,
        deliver_only: bool,
        claim: int,
    ) -> None:
        """Gives ``spool`` the name of ``actor``, or notes that it only delivers.

        Args:
            spool: That joins.
            others: Those that had the name so far, or have it.
            log_end: Offset of the log.
            actor: The name.
            takeover: Whether it becomes this spool's, whoever has it.
            deliver_only: Whether it is not asked for.
            claim: That of the same actor, when it joins again; 0 for none.

        Raises NameTakenError.
        """
        now = time.monotonic()
        holders = [other for other in others if other.holds_name(now, JOINED_HOLDS_NAME_S)]
        newest = max((other.claim for other in holders), default=0)
        wins = takeover or (claim > newest and not deliver_only)
        replaced = bool(holders) and not wins and (claim > 0 or spool.deliver_only)
        if holders and not (wins or deliver_only or replaced):
            raise NameTakenError(
                f"another actor named {actor!r} serves this learner. Stop it, or give this one a name of its own: "
                "actor.name=NAME. takeover=true ends the other. One that was killed is gone in a few seconds"
            )
        spool.deliver_only = deliver_only or replaced
        for other in others if takeover else holders if wins else ():
            other.deliver_only = True
        for other in others:
            other.joined &= other.deliver_only or spool.deliver_only
        if not spool.deliver_only:
            # The log has grown since any that an earlier process gave.
            self._last = max(self._last, log_end, *(other.claim for other in others)) + 1
            spool.claim = min(claim, _MOST_CLAIM) or self._last
