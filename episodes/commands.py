"""Where a contract has its gripper, and where its observations show what was commanded last."""

from __future__ import annotations

from episodes.contract import Interface


def command_component(interface: Interface, index: int) -> tuple[str, int] | None:
    """Where an observation shows the last command of an action component: the feature's name and the index in it."""
    wanted = interface.action.components[index] if interface.action.components else ""
    for feature in interface.observations:
        if wanted in feature.components:
            return feature.name, feature.components.index(wanted)
    return None


def gripper_component(interface: Interface) -> int | None:
    """Which action component is the gripper: the first with ``gripper`` in its name; None where there is none."""
    return next((i for i, name in enumerate(interface.action.components) if "gripper" in name), None)
