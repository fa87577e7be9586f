"""The metrics of a run as they were written: RUN_FOLDER/metrics.jsonl, one JSON object a line."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from metrics.names import ENV_STEPS, UPDATES


@dataclass(frozen=True)
class History:
    """Lines of metrics in the order of training.

    What a resumed run did over again is there once: lines ahead of where it resumed give way to the newer ones.
    """

    lines: tuple[dict[str, float], ...]

    def series(self, name: str, axis: str = ENV_STEPS) -> tuple[list[float], list[float]]:
        """Points (x, y) of the metric ``name`` against ``axis``, where both were logged and are finite."""
        points = [
            (line[axis], line[name])
            for line in self.lines
            if name in line and axis in line and math.isfinite(line[name]) and math.isfinite(line[axis])
        ]
        return [x for x, _ in points], [y for _, y in points]

    def last(self, name: str) -> float | None:
        """Newest value of a metric, None if it was never logged."""
        return next((line[name] for line in reversed(self.lines) if name in line), None)


def read_history(path: Path) -> History:
    """History of a metrics.jsonl; empty when there is no file. A torn last line is left out."""
    kept: list[dict[str, float]] = []
    try:
        text = path.read_text()
    except FileNotFoundError:
        return History(())
    for raw in text.splitlines():
        try:
            parsed = json.loads(raw)
        except ValueError:
            continue
        line = {k: float(v) for k, v in parsed.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        while kept and (
            line.get(UPDATES, 0.0) < kept[-1].get(UPDATES, 0.0)
            or line.get(ENV_STEPS, 0.0) < kept[-1].get(ENV_STEPS, 0.0)
        ):
            kept.pop()
        kept.append(line)
    return History(tuple(kept))
