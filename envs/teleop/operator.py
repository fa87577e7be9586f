"""The one interface for whoever can take over from the policy: scripted, keyboard, gamepad or leader arm."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np


class Event(StrEnum):
    """What a person can say besides moving the robot. Values are what logs and the wire carry."""

    INTERVENE = "intervene"
    """The person takes over, from this step on."""
    RELEASE = "release"
    """The person hands back to the policy, from this step on."""
    SUCCESS = "success"
    """End the episode as a success."""
    FAILURE = "failure"
    """End the episode as a failure."""
    DISCARD = "discard"
    """End the episode and never sample it."""
    RERECORD = "rerecord"
    """Discard the episode and repeat it."""
    READY = "ready"
    """The scene is reset; start the next episode."""
    PAUSE = "pause"
    """Hold still until READY."""
    STOP = "stop"
    """End the run."""
    MARK = "mark"
    """What is seen from here on looks like success; said again: no longer. For the reward classifier."""


@dataclass(frozen=True)
class OperatorInput:
    """What the operator says at one control step."""

    action: np.ndarray | None = None
    """Action in the contract's [-1, 1] units, float32, shape (action_dim,). None: the policy acts."""
    events: tuple[Event, ...] = ()
    """Events since the previous poll, oldest first; each is reported once."""
    doing: str = ""
    """One short human sentence of what the person is doing, shown in the terminal."""
    lost: bool = False
    """The input device is gone: the loop holds, and never hands back to the policy silently."""


class Operator(Protocol):
    """Whoever can take over. No method may block: the control loop calls them at the control rate."""

    def begin_episode(self) -> None:
        """Called once right after the environment was reset, before the first `poll`."""

    def poll(self, observation: dict[str, np.ndarray], proposed: np.ndarray) -> OperatorInput:
        """Called once each control step, before the environment step.

        Args:
            observation: the environment's current observation.
            proposed: the policy's action, shape (action_dim,), in [-1, 1].
        """

    def between_episodes(self) -> OperatorInput:
        """Polled while waiting for the scene to be reset; `Event.READY` starts the next episode."""

    def close(self) -> None:
        """Release devices. Safe to call twice."""


class Supervisor:
    """A person who watches a policy act alone: may stop, pause or discard an episode, and never chooses an action.

    Args:
        operator: The person. Not closed from here.
        judging: Whether they also say what succeeded and what failed.
    """

    HEARD = (Event.STOP, Event.PAUSE, Event.DISCARD)
    JUDGING = (Event.SUCCESS, Event.FAILURE)

    def __init__(self, operator: Operator, *, judging: bool = False) -> None:
        self._operator = operator
        self._heard = self.HEARD + (self.JUDGING if judging else ())

    def begin_episode(self) -> None:
        self._operator.begin_episode()

    def poll(self, observation: dict[str, np.ndarray], proposed: np.ndarray) -> OperatorInput:
        said = self._operator.poll(observation, proposed)
        events = tuple(event for event in said.events if event in self._heard)
        doing = said.doing if said.lost else "the policy acts alone: you can pause, discard or stop"
        return OperatorInput(events=events, doing=doing, lost=said.lost)

    def between_episodes(self) -> OperatorInput:
        return self._operator.between_episodes()

    def close(self) -> None:
        pass


class NoOperator:
    """Nobody at the controls: the policy always acts and every reset is ready at once."""

    def begin_episode(self) -> None:
        pass

    def poll(self, observation: dict[str, np.ndarray], proposed: np.ndarray) -> OperatorInput:
        return OperatorInput()

    def between_episodes(self) -> OperatorInput:
        return OperatorInput(events=(Event.READY,))

    def close(self) -> None:
        pass
