"""Getting a policy that stands still going again: it acts with its own noise for a while."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

import numpy as np

from policies.policy import Policy

MOVE = 0.2
"""A policy stands still where its vector inputs move by less: root mean square, in standard deviations of each."""
NOISY_STEPS = 8


class Stall:
    """Notices, in one episode, where a policy without noise stays where it is: its mean leads nowhere from there.

    Short of its goal and at rest, a policy without noise sees the same again and does the same again. It learned with
    noise, which leads away from such places: it acts with it for ``NOISY_STEPS`` steps once its vector inputs have
    moved by less than ``MOVE`` over ``spec.stall_steps`` steps.
    """

    def __init__(self, policy: Policy) -> None:
        spec = policy.spec
        self._inputs = spec.inputs
        self._scale = policy.normalizer.std.cpu().numpy() * math.sqrt(max(spec.vector_size, 1))
        self._seen: deque[np.ndarray] = deque(maxlen=spec.stall_steps + 1)
        self._noisy_steps = 0

    def noisy(self, stacked: Mapping[str, np.ndarray]) -> bool:
        """Whether the next action is to be noisy. Told of the stacked observation of each step once, in order."""
        steps = (self._seen.maxlen or 1) - 1
        if not steps:
            return False
        self._seen.append(np.concatenate([stacked[name] for name in self._inputs]))
        self._noisy_steps = max(self._noisy_steps - 1, 0)
        if not self._noisy_steps and len(self._seen) > steps and self._moved() < MOVE:
            self._noisy_steps = NOISY_STEPS
        return self._noisy_steps > 0

    def _moved(self) -> float:
        return float(np.linalg.norm((self._seen[-1] - self._seen[0]) / self._scale))
