"""Actions in [-1, 1] to an environment's own range and back; one codec for policy, person, replay and evaluation."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from envs.errors import EnvError

INFINITE = 1e30
"""Bounds beyond this stand for none: some environments write the largest float for infinity."""


class ActionCodec(gym.ActionWrapper, RecordConstructorArgs):
    """Takes float32 actions of shape (action_size,) in [-1, 1], rescaled linearly to the environment's own Box.

    Actions outside [-1, 1] are clipped. An integer Box gets the nearest integer. Any shape of Box is flattened.

    Attributes:
        low: Value of -1 per component, in the environment's units. Shape (action_size,).
        high: Value of +1 per component. Shape (action_size,).
    """

    def __init__(self, env: gym.Env, action_limit: float = 0.0) -> None:
        """``action_limit`` > 0 replaces infinite bounds by -action_limit and +action_limit.

        Raises EnvError for an action space that is no Box, is empty or has infinite bounds without an ``action_limit``.
        """
        RecordConstructorArgs.__init__(self, action_limit=action_limit)
        super().__init__(env)
        box = env.action_space
        if not isinstance(box, spaces.Box):
            raise EnvError(
                f"the action space must be a Box of continuous actions. Got: {box}. "
                "Discrete, MultiDiscrete, MultiBinary, Dict and Tuple actions are not supported"
            )
        self._box = box
        low, high = box.low.astype(np.float64).ravel(), box.high.astype(np.float64).ravel()
        endless = (np.abs(low) > INFINITE) | (np.abs(high) > INFINITE)
        if endless.any() and action_limit <= 0:
            raise EnvError(
                f"the action space must have finite bounds to be rescaled to [-1, 1]. Got: {box}. "
                "Set action_limit to the largest action that makes sense, e.g. env.action_limit=1.0"
            )
        self.low = np.where(np.abs(low) > INFINITE, -action_limit, low)
        self.high = np.where(np.abs(high) > INFINITE, action_limit, high)
        if not low.size or not (self.low < self.high).all():
            raise EnvError(f"the action space must have components with low < high. Got: {box}")
        self.action_space = spaces.Box(-1.0, 1.0, (low.size,), np.float32)

    def action(self, action: np.ndarray) -> np.ndarray:
        """The environment's own action. Raises ValueError for another shape than (action_size,)."""
        action = np.asarray(action, np.float64)
        if action.shape != self.action_space.shape:
            raise ValueError(f"an action must have shape {self.action_space.shape}. Got: {action.shape}")
        own = np.clip(self.low + (action + 1.0) * 0.5 * (self.high - self.low), self.low, self.high)
        if np.issubdtype(self._box.dtype, np.integer):
            own = np.rint(own)
        return own.astype(self._box.dtype).reshape(self._box.shape)

    def normalized(self, own: np.ndarray) -> np.ndarray:
        """The action in [-1, 1], float32 of shape (action_size,), of one in the environment's units."""
        own = np.asarray(own, np.float64).ravel()
        if own.size != self.low.size:
            raise ValueError(f"an action must have {self.low.size} components. Got: {own.size}")
        return np.clip(2.0 * (own - self.low) / (self.high - self.low) - 1.0, -1.0, 1.0).astype(np.float32)
