"""What proposes the actions of an episode: the newest policy, or what stands in for it during warm-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch

from policies.policy import Policy
from policies.snapshot import NotFiniteError, load_snapshot, load_weights
from policies.stacking import FrameStack


class Pilot(Protocol):
    """Proposes one action per step."""

    @property
    def version(self) -> int:
        """Of the policy that proposes."""

    @property
    def hands_off(self) -> bool:
        """Whether only the operator acts; the loop then waits for its action."""

    def refresh(self) -> None:
        """Called between two steps: the moment at which a newer policy may be swapped in."""

    def begin_episode(self, observation: Mapping[str, np.ndarray]) -> None: ...

    def observe(self, observation: Mapping[str, np.ndarray]) -> None:
        """Every observation after the first of an episode, once."""

    def propose(self) -> np.ndarray:
        """The action for the newest observation, shape (A,), in [-1, 1]."""

    def expressed(self, action: np.ndarray) -> np.ndarray:
        """A person's action as the policy could have chosen it, shape (A,): see ``Policy.expressed``."""


class Idle:
    """Proposes an action that holds still; for episodes a person drives from first to last."""

    version = 0
    hands_off = True

    def __init__(self, action_size: int) -> None:
        self._action = np.zeros(action_size, np.float32)

    def refresh(self) -> None:
        pass

    def begin_episode(self, observation: Mapping[str, np.ndarray]) -> None:
        pass

    def observe(self, observation: Mapping[str, np.ndarray]) -> None:
        pass

    def propose(self) -> np.ndarray:
        return self._action

    def expressed(self, action: np.ndarray) -> np.ndarray:
        return action


class PolicyPilot:
    """The newest policy of a stream, swapped in between two steps.

    Args:
        newest: The payload of a policy newer than the last one asked for, or None.
        frozen: The part of all of them that never changes, or None where they have none.
        exploration_share: Share of episodes in which it samples; in the others it proposes the mean.
        seed: Of the samples, and of which episodes these are.
        warmup: ``policy``, ``uniform`` or ``operator``: who acts while the policy is version 0.
        device: Where they run, as a torch device.
    """

    def __init__(
        self,
        newest: Callable[[], bytes | None],
        *,
        frozen: Callable[[], bytes | None] = lambda: None,
        exploration_share: float = 1.0,
        seed: int = 0,
        warmup: str = "policy",
        device: str | torch.device = "cpu",
    ) -> None:
        self.version = 0
        self._newest = newest
        self._frozen = frozen
        self._exploration_share = exploration_share
        self._deterministic = exploration_share == 0.0
        self._warmup = warmup
        self._device = torch.device(device)
        self._policy: Policy | None = None
        self._generator = torch.Generator().manual_seed(seed)
        self._uniform = np.random.default_rng(seed)

    @property
    def ready(self) -> bool:
        """Whether there is a policy at all."""
        return self._policy is not None

    @property
    def hands_off(self) -> bool:
        return self._warmup == "operator" and self.version == 0

    def refresh(self) -> None:
        """Keeps the policy it has, and says so, where a newer one is not finite.

        Raises policies.snapshot.SnapshotError for a payload that is no policy or another one than before.
        """
        payload = self._newest()
        if payload is None:
            return
        if self._policy is None:
            _, self.version, policy = load_snapshot(payload, self._frozen())
            self._policy = policy.to(self._device).eval()
        else:
            try:
                self.version = load_weights(self._policy, payload)
            except NotFiniteError as error:
                print(f"keeping policy version {self.version}: {error}", flush=True)

    def begin_episode(self, observation: Mapping[str, np.ndarray]) -> None:
        drawn = torch.rand((), generator=self._generator).item()
        self._deterministic = drawn >= self._exploration_share
        self._stack = FrameStack(self._loaded.spec.frames)
        self._stacked = self._stack.reset(observation)

    def observe(self, observation: Mapping[str, np.ndarray]) -> None:
        self._stacked = self._stack.push(observation)

    def propose(self) -> np.ndarray:
        if self._warmup == "uniform" and self.version == 0:
            return self.expressed(self._uniform.uniform(-1, 1, self._loaded.spec.action_size))
        return self._loaded.act(self._stacked, deterministic=self._deterministic, generator=self._generator)

    def expressed(self, action: np.ndarray) -> np.ndarray:
        return self._loaded.expressed(self._stacked, action)

    @property
    def _loaded(self) -> Policy:
        if self._policy is None:
            raise RuntimeError("there is no policy yet")
        return self._policy
