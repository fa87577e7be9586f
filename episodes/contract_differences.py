"""Where two contracts differ, and how that is said in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from episodes.contract import Contract

LINES = 8
"""Of one refusal, at most."""
_NAMES = 8
_CHARACTERS = 200
_PER_COMPONENT = ("components", "units", "low", "high")


@dataclass(frozen=True)
class Difference:
    """One place where two contracts differ.

    Attributes:
        feature: Whose it is, e.g. ``observation.state`` or ``action``; empty for what is of none.
        key: e.g. ``shape``, or ``task`` and ``reward.low`` where there is no feature.
        expected: What this run needs, or the settings that are asked for.
        actual: What there is: in the given folder or file, or at the actor that joins.
    """

    feature: str
    key: str
    expected: Any
    actual: Any

    def __str__(self) -> str:
        """``KEY: expected A, got B``, without the feature; of a value per component only the first that differs."""
        key, expected, actual = self.key, self.expected, self.actual
        if key in _PER_COMPONENT:
            if len(expected) != len(actual):
                return f"{key}: expected {len(expected)} of them, got {len(actual)}"
            places = [i for i, (left, right) in enumerate(zip(expected, actual, strict=True)) if left != right]
            key, expected, actual = f"{key}[{places[0]}]", expected[places[0]], actual[places[0]]
            if len(places) > 1:
                return f"{key}: expected {_said(expected)}, got {_said(actual)} (and {len(places) - 1} more)"
        return f"{key}: expected {_said(expected)}, got {_said(actual)}"


def differences(expected: Contract, actual: Contract) -> list[Difference]:
    """Every key where the contracts differ. A feature that only one of them has is in ``observations`` alone."""
    left, right = _values(expected), _values(actual)
    return [
        Difference(*place, left[place], right[place])
        for place in left
        if place in right and left[place] != right[place]
    ]


def stored_differences(expected: Contract, actual: Contract) -> list[Difference]:
    """The differences that make steps stored under one useless under the other: all but frame stacks."""
    return [difference for difference in differences(expected, actual) if difference.key != "stack"]


def difference_lines(found: Sequence[Difference]) -> list[str]:
    """What a user reads: the first of ``all_lines``."""
    return first_lines(all_lines(found))


def all_lines(found: Sequence[Difference]) -> list[str]:
    """One line for each feature."""
    groups: dict[str, list[Difference]] = {}
    for difference in found:
        groups.setdefault(difference.feature or difference.key, []).append(difference)
    return [_line(group) for group in groups.values()]


def first_lines(lines: Sequence[str]) -> list[str]:
    """``LINES`` of them at most, and then how many more there are."""
    return list(lines) if len(lines) <= LINES else [*lines[:LINES], f"and {len(lines) - LINES} more"]


def _line(group: Sequence[Difference]) -> str:
    """Of one feature. Where its shape or its components are others, so is what there is of each component."""
    keys = [difference.key for difference in group]
    implied = _PER_COMPONENT if "shape" in keys else _PER_COMPONENT[1:] if "components" in keys else ()
    text = "; ".join(str(difference) for difference in group if difference.key not in implied)
    return f"{group[0].feature}.{text}" if group[0].feature else text


def _values(contract: Contract) -> dict[tuple[str, str], Any]:
    """By feature and key, what says most first."""
    interface = contract.interface
    values: dict[tuple[str, str], Any] = {("", "task"): interface.task}
    values["", "observations"] = tuple(f.name for f in interface.observations)
    for feature in [*interface.observations, interface.action]:
        values |= {(feature.name, key): value for key, value in asdict(feature).items() if key != "name"}
        if feature is not interface.action:
            view = asdict(contract.view.of(feature.name))
            values |= {(feature.name, key): value for key, value in view.items() if key != "name"}
    apart = ("task", "observations", "action", "reward")
    values |= {("", f.name): getattr(interface, f.name) for f in fields(interface) if f.name not in apart}
    return values | {("", f"reward.{key}"): value for key, value in asdict(interface.reward).items()}


def _said(value: Any) -> str:
    if isinstance(value, tuple) and all(isinstance(name, str) for name in value):
        more = f" and {len(value) - _NAMES} more" if len(value) > _NAMES else ""
        text = (", ".join(value[:_NAMES]) or "none") + more
    else:
        text = repr(value)
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}..."
