"""Batches of n-step windows, read from the rows of the replay buffer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from learner.replay_rows import RowStorage


@dataclass(frozen=True, slots=True)
class Batch:
    """B n-step transitions. S is the stack of a feature, D its size, A the action size.

    Attributes:
        observation: Per feature, vectors float32 (B, S * D), images uint8 (B, H, W, 3 * S); oldest frame first.
        action: Chosen actions, float32 (B, A).
        reward: sum over i < k of gamma^i r_i, float32 (B,).
        discount: gamma^k, or 0 where the window ends in termination, float32 (B,).
        next_observation: After the last step of the window; like ``observation``.
        human: A person chose the action, bool (B,).
        k: Steps in the window, 1 to n, int64 (B,).
        demonstration: Drawn from the demonstration view, bool (B,).
        proposed: What the policy proposed, float32 (B, A); NaN where it proposed nothing.
    """

    observation: dict[str, np.ndarray]
    action: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    next_observation: dict[str, np.ndarray]
    human: np.ndarray
    k: np.ndarray
    demonstration: np.ndarray
    proposed: np.ndarray

    def __len__(self) -> int:
        return len(self.reward)


class Windows:
    """Reads windows of up to ``n_step`` steps, discounted by ``gamma`` per step, with stacked observations.

    Args:
        storage: The rows; a window goes on from a row while its ``continues`` is set.
        stacks: Frames per feature.
        n_step: Longest window, at least 1.
        gamma: Discount per step, in [0, 1].
    """

    def __init__(self, storage: RowStorage, stacks: dict[str, int], n_step: int, gamma: float):
        if n_step < 1:
            raise ValueError(f"n_step must be at least 1. Got: {n_step}")
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma must be in [0, 1]. Got: {gamma}")
        self._storage = storage
        self._stacks = stacks
        self._n_step = n_step
        self._gammas = (float(gamma) ** np.arange(n_step + 1)).astype(np.float32)

    def read(self, rows: np.ndarray, demonstration: bool | np.ndarray = False) -> Batch:
        """The windows that start at ``rows`` (B,), each the row of a step that may be sampled."""
        s = self._storage
        reward = s.reward[rows]
        last = rows
        k = np.ones(len(rows), np.int64)
        for i in range(1, self._n_step):
            goes_on = s.continues[last]
            last = np.where(goes_on, s.following[last], last)
            reward += np.where(goes_on, self._gammas[i] * s.reward[last], 0)
            k += goes_on
        return Batch(
            observation=s.observation(rows, self._stacks),
            action=s.action[rows],
            reward=reward,
            discount=self._gammas[k] * ~s.terminated[last],
            next_observation=s.observation(s.following[last], self._stacks),
            human=s.human[rows],
            k=k,
            demonstration=np.full(len(rows), demonstration),
            proposed=s.proposed[rows],
        )
