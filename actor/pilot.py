"""What proposes the actions of an episode. No torch is imported here: the newest policy is in ``policy_pilot``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np


class Pilot(Protocol):
    """Proposes one action per step."""

    @property
    def version(self) -> int:
        """Of the policy that proposes."""

    @property
    def hands_off(self) -> bool:
        """Whether only the operator acts; the loop then waits for its action."""

    def refresh(self, spare_s: float = math.inf) -> None:
        """Called between two steps: a newer policy may be swapped in, which should take no longer than ``spare_s``."""

    def begin_episode(self, observation: Mapping[str, np.ndarray]) -> None: ...

    def observe(self, observation: Mapping[str, np.ndarray]) -> None:
        """Every observation after the first of an episode, once."""

    def propose(self) -> np.ndarray:
        """The action for the newest observation, shape (A,), in [-1, 1]."""

    def expressed(self, action: np.ndarray) -> np.ndarray:
        """A person's action as the policy could have chosen it, shape (A,): see ``Policy.expressed``."""


class ReadyPilot(Pilot, Protocol):
    """A pilot that has to wait for a first policy."""

    @property
    def ready(self) -> bool:
        """Whether there is a policy at all."""


class Idle:
    """Proposes an action that holds still; for episodes a person drives from first to last."""

    version = 0
    hands_off = True

    def __init__(self, action_size: int) -> None:
        self._action = np.zeros(action_size, np.float32)

    def refresh(self, spare_s: float = math.inf) -> None:
        pass

    def begin_episode(self, observation: Mapping[str, np.ndarray]) -> None:
        pass

    def observe(self, observation: Mapping[str, np.ndarray]) -> None:
        pass

    def propose(self) -> np.ndarray:
        return self._action

    def expressed(self, action: np.ndarray) -> np.ndarray:
        return action
