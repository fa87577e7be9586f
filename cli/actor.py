"""`tandem actor`."""

from __future__ import annotations

import dataclasses

from cli.composition import Settings
from cli.groups import operators, reward_group
from cli.keys import Group, Key, keys_of


def list_keys() -> list[Key]:
    from actor.config import COMPRESSIONS, ActorConfig

    choices: dict[str, tuple[str, ...]] = {
        "device": ("auto", "cpu", "cuda", "mps"),
        "operator": operators(),
        "pacing": ("", "lockstep", "realtime"),
        "keyboard": ("auto", "pynput", "terminal"),
        "compression": COMPRESSIONS,
    }
    return keys_of(ActorConfig, paths(), choices=choices)


def list_groups() -> list[Group]:
    return [reward_group()]


def run(settings: Settings) -> int:
    from actor.config import ActorConfig
    from actor.main import run_actor

    return run_actor(settings.build(ActorConfig, paths(), reward=settings.configs["reward"]))


def paths() -> dict[str, str]:
    """The key of every field of ActorConfig."""
    from actor.config import ActorConfig, key_of

    return {f.name: key_of(f.name) for f in dataclasses.fields(ActorConfig) if f.name != "reward"}
