"""The newest policy as the pilot of an episode, or what stands in for it during warm-up."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Mapping
from functools import partial

import numpy as np
import torch

from actor.device import policy_device
from policies.policy import Policy
from policies.snapshot import NotFiniteError, load_in_parts, load_snapshot
from policies.stacking import FrameStack
from policies.stall import Stall

_AT_ONCE_S = 3.0
"""How long a policy that is all there is loaded in parts, at most [s]."""


class PolicyPilot:
    """The newest policy of a stream, swapped in between two steps.

    Args:
        newest: Given the seconds there are for it, the payload of a policy newer than the last one asked for, once all
            of it is there, or None.
        frozen: The part of all of them that never changes, or None where they have none.
        exploration_share: Share of episodes in which it samples; in the others it proposes the mean, or samples for a
            while where it has come to a stall (policies.stall).
        seed: Of the samples, and of which episodes these are.
        warmup: ``policy``, ``uniform`` or ``operator``: who acts while the policy is version 0.
        device: Where they run, as a torch device.
    """

    def __init__(
        self,
        newest: Callable[[float], bytes | memoryview | None],
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
        self._spare: Policy | None = None
        self._loading: Generator[None, None, int] | None = None
        self._generator = torch.Generator().manual_seed(seed)
        self._uniform = np.random.default_rng(seed)
        self._part_s = self._since_s = 0.0

    @property
    def ready(self) -> bool:
        """Whether there is a policy at all."""
        return self._policy is not None

    @property
    def hands_off(self) -> bool:
        return self._warmup == "operator" and self.version == 0

    def refresh(self, spare_s: float = math.inf) -> None:
        """Takes over the newest policy, or as much of it as there is time for: it acts once all of it is there.

        A part is loaded in each call, however little time there is, and all that is left after _AT_ONCE_S. Keeps the
        policy it has, and says so, where a newer one is not finite. Raises policies.snapshot.SnapshotError for a
        payload that is no policy or another one than before.
        """
        began_s = time.monotonic()
        if self._loading is None:
            payload = self._newest(spare_s)
            if payload is None:
                return
            if self._policy is None:
                self._load_first(payload)
                return
            assert self._spare is not None
            self._loading, self._since_s = load_in_parts(self._spare, payload), began_s
        if began_s - self._since_s > _AT_ONCE_S:
            spare_s = math.inf
        self._load_part()
        while self._loading is not None and self._part_s <= spare_s - (time.monotonic() - began_s):
            self._load_part()

    def _load_first(self, payload: bytes | memoryview) -> None:
        _, self.version, policy = load_snapshot(bytes(payload), self._frozen())
        self._policy = policy.to(self._device).eval()
        self._spare = copy.deepcopy(self._policy)

    def _load_part(self) -> None:
        """With the last one the policies change places."""
        assert self._loading is not None
        began_s, loading, self._loading = time.monotonic(), self._loading, None
        try:
            next(loading)
            self._loading = loading
        except StopIteration as end:
            self.version = end.value
            self._policy, self._spare = self._spare, self._policy
        except NotFiniteError as error:
            print(f"keeping policy version {self.version}: {error}", flush=True)
        self._part_s = max(time.monotonic() - began_s, 0.9 * self._part_s)

    def begin_episode(self, observation: Mapping[str, np.ndarray]) -> None:
        drawn = torch.rand((), generator=self._generator).item()
        self._deterministic = drawn >= self._exploration_share
        self._stack = FrameStack(self._loaded.spec.frames)
        self._stacked = self._stack.reset(observation)
        self._stall = Stall(self._loaded)
        self._stalled = self._stall.noisy(self._stacked)

    def observe(self, observation: Mapping[str, np.ndarray]) -> None:
        self._stacked = self._stack.push(observation)
        self._stalled = self._stall.noisy(self._stacked)

    def propose(self) -> np.ndarray:
        if self._warmup == "uniform" and self.version == 0:
            return self.expressed(self._uniform.uniform(-1, 1, self._loaded.spec.action_size))
        deterministic = self._deterministic and not self._stalled
        return self._loaded.act(self._stacked, deterministic=deterministic, generator=self._generator)

    def expressed(self, action: np.ndarray) -> np.ndarray:
        return self._loaded.expressed(self._stacked, action)

    @property
    def _loaded(self) -> Policy:
        if self._policy is None:
            raise RuntimeError("there is no policy yet")
        return self._policy


def policy_pilots(device: str, threads: int) -> Callable[..., PolicyPilot]:
    """Makes pilots whose policies run on ``actor.device``. Raises actor.device.DeviceError."""
    torch.set_num_threads(threads)
    return partial(PolicyPilot, device=policy_device(device))
