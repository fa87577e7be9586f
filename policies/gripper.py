"""The gripper as one of three classes, close, stay and open: the one codec of policy, person, replay and evaluation.

An action's gripper component a is an absolute command, of which the sign says the side; c is the last command, which
the observation shows:

    class(a, c)       open where a > 0 and c <= 0, close where a < 0 and c >= 0, else stay
    command(class, c) +1 for open, -1 for close, c for stay

So a class other than stay changes the side, and is there only where the gripper is not on its side yet: each class that
is there comes back from its own command. Which side is open the contract's ``gripper_sign`` says; the names here are
those of ``-1 closed, +1 open``. Imports no torch: all of it works on numpy arrays and on tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from episodes.contract import Contract

CLOSE, STAY, OPEN = range(3)

type Array = Any


class GripperError(ValueError):
    """A contract whose gripper cannot be chosen among classes."""


@dataclass(frozen=True)
class Gripper:
    """Where the gripper is.

    Attributes:
        component: Of the action.
        feature: Observation feature that shows its last command.
        place: In that feature, counted from its end, so that it is that of the newest frame of a stack: below 0.
    """

    component: int
    feature: str
    place: int

    @staticmethod
    def of(contract: Contract) -> Gripper:
        """That of a contract. Raises GripperError where there is none, or its last command is not observed."""
        from episodes.commands import command_component, gripper_component

        interface = contract.interface
        component = gripper_component(interface)
        if component is None or interface.action.shape[0] < 2:
            raise GripperError(
                "algorithm.gripper=discrete needs an action with a component named gripper beside others. "
                f"Got: {interface.action.components or 'components without names'} of {interface.task}"
            )
        shown = command_component(interface, component)
        if shown is None:
            raise GripperError(
                f"algorithm.gripper=discrete needs an observation that shows the last command, a component named "
                f"{interface.action.components[component]!r}. Got: none in {interface.task}. Use gripper=continuous"
            )
        name, index = shown
        return Gripper(component, name, index - interface.feature(name).shape[0])

    def last_command(self, vectors: Mapping[str, Array]) -> Array:
        """Last commands (...) of observations with vectors (..., D), stacked or not."""
        return vectors[self.feature][..., self.place]

    def classes(self, action: Array, last_command: Array) -> Array:
        """Classes, integers (...), of actions (..., A) at last commands (...)."""
        command = action[..., self.component]
        return STAY + 1 * ((command > 0) & (last_command <= 0)) - 1 * ((command < 0) & (last_command >= 0))

    def toggles(self, action: Array, last_command: Array) -> Array:
        """Whether actions (..., A) change the gripper's side, bool (...)."""
        return self.classes(action, last_command) != STAY


def commands(classes: Array, last_command: Array) -> Array:
    """Gripper commands (...) in [-1, 1] of classes (...)."""
    return (classes != STAY) * (classes - STAY) + (classes == STAY) * last_command
