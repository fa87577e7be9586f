"""What stands between an action and the robot: limits, and holding still where the loop cannot see or decide.

A clamp depends only on the action, so it is part of what the policy acts in. A *held* step is one that safety overrode
for a reason the observation does not show; it is recorded, counted, and never learned from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.image_view import LOST_CAMERA
from episodes.commands import command_component
from episodes.contract import Contract
from episodes.layout import MAX_MAGNITUDE
from episodes.outcome import Held

MOST_BLIND_STEPS = 20
"""Steps in a row that are held for a lost camera: a loose cable may be back by then, another camera will not."""


class Guard:
    """Checks observations and actions of one episode at a time.

    Attributes:
        lost_camera: Which image the newest observation lacks, what was expected and what came; empty for none.

    Args:
        contract: Names, sizes and ranges.
        max_action: Largest magnitude of a sent component; the contract's range wins where it is tighter.
        stale_observation_s: Age of an observation, as ``info["observation_age_s"]`` says it, from which the arm holds.
        watchdog_s: A step that took longer than this is held; 0 for no limit.
    """

    def __init__(
        self,
        contract: Contract,
        *,
        max_action: float = 1.0,
        stale_observation_s: float = 0.5,
        watchdog_s: float = 0.0,
    ) -> None:
        interface = contract.interface
        size = interface.action.shape[0]
        low = np.broadcast_to(np.asarray(interface.action.low or (-1.0,), np.float32), (size,))
        high = np.broadcast_to(np.asarray(interface.action.high or (1.0,), np.float32), (size,))
        self.low = np.maximum(np.maximum(low, -1), -max_action).astype(np.float32)
        self.high = np.minimum(np.minimum(high, 1), max_action).astype(np.float32)
        self._delta = np.array(["delta" in name for name in interface.action.components] or [False] * size)
        self._commands = {
            i: shown
            for i in range(len(interface.action.components))
            if not self._delta[i] and (shown := command_component(interface, i)) is not None
        }
        self.lost_camera = ""
        self._blind_steps = 0
        self._images = {f.name: f.shape for f in contract.stored if f.is_image}
        self._stale_observation_s = stale_observation_s
        self._watchdog_s = watchdog_s
        self._sent = np.clip(np.zeros_like(self.low), self.low, self.high)

    def begin_episode(self, observation: Mapping[str, np.ndarray]) -> None:
        """Until something is sent, the commands that the first observation shows are the ones to hold."""
        self._blind_steps = 0
        last = np.zeros_like(self.low)
        for index, (name, component) in self._commands.items():
            last[index] = observation[name][component]
        self._sent = np.clip(last, self.low, self.high)

    def hold(self) -> np.ndarray:
        """The action that keeps the robot where it is, shape (A,): zero for deltas, the last command otherwise."""
        return np.where(self._delta, np.float32(0), self._sent)

    def choose(self, action: np.ndarray) -> np.ndarray:
        """An action moved into the contract's [-1, 1], float32, shape (A,). Raises ValueError for another shape."""
        if action.shape != self.low.shape:
            raise ValueError(f"an action must have shape {self.low.shape}. Got: {action.shape}")
        return np.clip(np.asarray(action, np.float32), -1, 1)

    def send(self, action: np.ndarray) -> np.ndarray:
        """The action after the limits; it is the one to hold from now on."""
        self._sent = np.clip(action, self.low, self.high)
        return self._sent

    def fault_of_action(self, action: np.ndarray) -> Held:
        return Held.NO if np.isfinite(action).all() else Held.NAN_ACTION

    @property
    def blind(self) -> bool:
        """Whether a camera has been lost for so long that the episode must be cut."""
        return self._blind_steps >= MOST_BLIND_STEPS

    def fault_of_observation(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> Held:
        """Asked once about every observation."""
        self.lost_camera = str(info.get(LOST_CAMERA, "")) or self._wrong_image(observation)
        self._blind_steps = self._blind_steps + 1 if self.lost_camera else 0
        if self.lost_camera:
            return Held.LOST_CAMERA
        for value in observation.values():
            if value.dtype.kind == "f" and not (np.abs(value) <= MAX_MAGNITUDE).all():
                return Held.NAN_OBSERVATION
        if float(info.get("observation_age_s", 0.0)) > self._stale_observation_s:
            return Held.STALE_OBSERVATION
        return Held.NO

    def _wrong_image(self, observation: Mapping[str, np.ndarray]) -> str:
        for name, shape in self._images.items():
            image = observation.get(name)
            if image is None or image.shape != shape or image.dtype != np.uint8:
                got = "none" if image is None else f"{image.dtype} of shape {image.shape}"
                return f"{name}: expected uint8 of shape {shape}, got {got}"
        return ""

    def fault_of_duration(self, step_s: float) -> Held:
        return Held.WATCHDOG if self._watchdog_s and step_s > self._watchdog_s else Held.NO
