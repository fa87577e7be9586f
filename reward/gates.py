"""Conditions on the observed state that must hold besides what the cameras show, e.g. ``tool.z>0.06``."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from episodes.contract import Contract
from reward.config import RewardError

_GATE = re.compile(r"\s*([A-Za-z_][\w.\-]*)\s*([<>])\s*([-+0-9.eE]+)\s*")


@dataclass(frozen=True)
class Gate:
    """One condition.

    Attributes:
        name: Of the component.
        feature: Of the observation.
        index: Of the component within it.
        above: Whether the component must be above the bound, else below.
        bound: In the component's unit.
    """

    name: str
    feature: str
    index: int
    above: bool
    bound: float

    def holds(self, observation: Mapping[str, np.ndarray]) -> bool:
        """False where the component is missing or not a number."""
        value = observation.get(self.feature)
        if value is None:
            return False
        return bool(value[self.index] > self.bound if self.above else value[self.index] < self.bound)


def parse_gates(texts: Sequence[str], contract: Contract, key: str = "reward.gates") -> tuple[Gate, ...]:
    """Raises RewardError, naming ``key``, for a text that is no condition, or a component that the contract does not
    have."""
    places = {
        component: (feature.name, index)
        for feature in contract.stored
        for index, component in enumerate(feature.components)
    }
    gates = []
    for text in texts:
        name, above, bound = check_gate(text, key)
        if name not in places:
            near = difflib.get_close_matches(name, places, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise RewardError(f"{key} names {name!r}, which is not observed.{hint} There are: {sorted(places)}")
        gates.append(Gate(name, *places[name], above, bound))
    return tuple(gates)


def check_gate(text: str, key: str = "reward.gates") -> tuple[str, bool, float]:
    """Component, whether it must be above the bound, and the bound. Raises RewardError where ``text`` is none."""
    match = _GATE.fullmatch(text)
    if match is None:
        raise RewardError(f"{key} must hold conditions like tool.z>0.06. Got: {text!r}")
    name, sign, bound = match.groups()
    try:
        value = float(bound)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RewardError(f"{key} needs a number after {sign}. Got: {text!r}")
    return name, sign == ">", value
