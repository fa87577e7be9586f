"""Who has the name of an actor: one spool at a time, and of two that come back the one that got it last."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from episodes.durable import write_durably
from learner.ingest_spool import NameTakenError, Spool

JOINED_HOLDS_NAME_S = 3.0
"""How long a Join keeps its actor's name for it before its Push is there [s]."""
RETURN_S = 3.0
"""How long, from its first Join on, a learner that was started again keeps the names for those in its log [s]."""
_MOST_CLAIM = 1 << 62


class Claims:
    """Numbers the actors of a run in the order in which they got their names.

    An actor shows its number when it joins again, so a learner that was started again need not have kept it. It need
    only give greater ones: ``path`` counts the starts; None where there is but one.
    """

    def __init__(self, path: Path | None = None) -> None:
        starts = 0
        if path is not None:
            starts = 1 + (int(json.loads(path.read_text())["starts"]) if path.exists() else 0)
            write_durably(path, json.dumps({"starts": starts}).encode())
        self._last = starts << 32
        self._returned_s = float("inf")

    def settle(
        self,
        spool: Spool,
        others: Sequence[Spool],
        spool_id: str,
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
            spool_id: Of ``spool``.
            actor: The name.
            takeover: Whether it becomes this spool's, whoever has it.
            deliver_only: Whether it is not asked for.
            claim: That of the same process, when it joins again; 0 for none.

        Raises NameTakenError.
        """
        now = time.monotonic()
        self._returned_s = min(self._returned_s, now + RETURN_S)
        if not takeover and (0 < claim < spool.claim or (claim == 0 and spool.streams > 0)):
            raise NameTakenError(
                f"another process sends spool {spool_id!r} of actor {actor!r}: its folder was copied. Delete the "
                "copy's and give the copy a name of its own: actor.name=NAME. takeover=true ends the other. One that "
                "was killed is gone in a few seconds"
            )
        awaited = any(other.heard_s == float("-inf") for other in others) and now < self._returned_s
        if awaited and not (takeover or deliver_only or claim):
            raise NameTakenError(
                f"an actor named {actor!r} served this learner before it was started again, and has {RETURN_S:g} s to "
                "come back. Try again then, or give this one a name of its own: actor.name=NAME. takeover=true ends "
                "the other"
            )
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
        if deliver_only or not replaced:
            self._last = max(self._last, spool.claim, *(other.claim for other in others)) + 1
            spool.claim = min(claim, _MOST_CLAIM) or self._last
