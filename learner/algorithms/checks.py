"""What the settings of an algorithm must be. Each raises ValueError, naming key, what is expected and what came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def at_least_one(config: object, *keys: str) -> None:
    _check(config, keys, "at least 1", lambda value: value >= 1)


def positive(config: object, *keys: str) -> None:
    _check(config, keys, "greater than 0", lambda value: value > 0)


def not_negative(config: object, *keys: str) -> None:
    _check(config, keys, "0 or more", lambda value: value >= 0)


def not_positive(config: object, *keys: str) -> None:
    _check(config, keys, "0 or less", lambda value: value <= 0)


def between_0_and_1(config: object, *keys: str) -> None:
    """Neither 0 nor 1."""
    _check(config, keys, "between 0 and 1", lambda value: 0 < value < 1)


def from_0_to_1(config: object, *keys: str) -> None:
    """0 and 1 too."""
    _check(config, keys, "from 0 to 1", lambda value: 0 <= value <= 1)


def above_0_to_1(config: object, *keys: str) -> None:
    """1 too, but not 0: the share that an average takes over."""
    _check(config, keys, "above 0 and at most 1", lambda value: 0 < value <= 1)


def one_of(config: object, allowed: Sequence[str], *keys: str) -> None:
    _check(config, keys, f"one of {allowed}", lambda value: value in allowed)


def _check(config: object, keys: Sequence[str], expected: str, holds: Callable[[Any], bool]) -> None:
    for key in keys:
        value = getattr(config, key)
        if not holds(value):
            raise ValueError(f"algorithm.{key} must be {expected}. Got: {value!r}")
