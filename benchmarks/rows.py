"""A row of the benchmark table, as the scripts print it and `python -m benchmarks` reads it."""

from __future__ import annotations

from statistics import median
from typing import Any


def row(
    name: str, unit: str, mine: list[float], theirs: list[float] | None = None, *, command: str, **more: Any
) -> dict[str, Any]:
    """Medians and ranges, and those of the ratios of neighbours in time.

    Args:
        unit: Where it ends in "/s" more is better, otherwise less.
        mine: Ours, in order of time.
        theirs: The peer's, measured in turns with ours; None or empty where there is no peer.
        command: That measures it again.
        more: Further entries.

    Returns:
        The row; its ratio says how many times better ours is.
    """
    pairs = [(own, other) for own, other in zip(mine, theirs or [], strict=False) if own and other]
    ratios = sorted(own / other if unit.endswith("/s") else other / own for own, other in pairs)
    return {
        "name": name,
        "unit": unit,
        "ours": median(mine),
        "peer": median(theirs) if theirs else None,
        "ratio": median(ratios) if ratios else None,
        "command": command,
        "range": [min(mine), max(mine)],
        "peer_range": [min(theirs), max(theirs)] if theirs else None,
        "ratio_range": [ratios[0], ratios[-1]] if ratios else None,
        **more,
    }
