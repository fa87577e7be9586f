"""A person's or a scripted operator's action in place of the policy's."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from envs.teleop.operator import Operator


class Intervention(gym.Wrapper, RecordConstructorArgs):
    """Polls an operator before every step; its action, where it gives one, is executed in place of the policy's.

    ``step`` adds to ``info``: ``proposed`` (the policy's action), ``chosen`` (the one executed), ``human`` (bool), and
    ``operator`` (the OperatorInput, with the events since the previous step). Shapes are (action_size,), in [-1, 1].
    The wrapper ends no episode: what an event means is decided by whoever runs the episode.
    """

    def __init__(self, env: gym.Env, operator: Operator) -> None:
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, operator=operator)
        super().__init__(env)
        self.operator = operator
        self._observation: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._observation, info = self.env.reset(seed=seed, options=options)
        self.operator.begin_episode()
        return self._observation, info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Raises ValueError where the operator's action has another shape than the action space."""
        said = self.operator.poll(self._observation, action)
        chosen = action if said.action is None else said.action
        if chosen.shape != self.action_space.shape:
            raise ValueError(
                f"{type(self.operator).__name__}'s action must have shape {self.action_space.shape}. "
                f"Got: {chosen.shape}"
            )
        self._observation, reward, terminated, truncated, info = self.env.step(chosen)
        info = info | {"proposed": action, "chosen": chosen, "human": said.action is not None, "operator": said}
        return self._observation, reward, terminated, truncated, info

    def close(self) -> None:
        self.operator.close()
        super().close()
