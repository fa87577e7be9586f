"""`tandem record`."""

from __future__ import annotations

import dataclasses
import time

from cli.composition import Settings
from cli.groups import env_group, operators, reward_group
from cli.keys import Group, Key, keys_of


def list_keys() -> list[Key]:
    from actor.record import RecordConfig

    found = keys_of(
        RecordConfig,
        paths(),
        choices={
            "operator": operators(),
            "pacing": ("", "lockstep", "realtime"),
            "keyboard": ("auto", "pynput", "terminal"),
        },
    )
    return [dataclasses.replace(key, default="") if key.path == "out" else key for key in found]


def list_groups() -> list[Group]:
    return [env_group(), reward_group()]


def run(settings: Settings) -> int:
    from actor.record import RecordConfig, record

    if not settings["out"]:
        settings.values["out"] = f"runs/demonstrations-{time.strftime('%Y%m%d-%H%M%S')}"
    return record(
        settings.build(
            RecordConfig,
            paths(),
            env=settings.choices["env"],
            env_config=settings.configs["env"],
            reward=settings.configs["reward"],
        )
    )


def paths() -> dict[str, str]:
    """The key of every field of RecordConfig but those of the environment."""
    from actor.record import RecordConfig

    return {f.name: f.name for f in dataclasses.fields(RecordConfig) if f.name not in ("env", "env_config", "reward")}
