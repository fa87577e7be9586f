"""Environments by name. What crosses the wire is a name from here and flat settings, never an import path.

Nothing heavy is imported until an entry is used.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from envs.errors import EnvError
from envs.image_view import ImageView, has_images
from episodes.contract import Contract, ContractError

__all__ = ["ENVS", "EnvEntry", "EnvError", "derive_contract", "env_config_type", "env_entry", "make_env"]


@dataclass(frozen=True)
class EnvEntry:
    """One registered environment.

    Attributes:
        config: Returns the type of its config: a flat frozen dataclass that travels as transport.settings. One whose
            observations can have images has ``image_crop`` and ``image_resize``, see ``envs.image_view``.
        contract: Derives the contract from a config, without opening a device.
        make: Makes the environment from a config and a render mode (None or ``rgb_array``), images as captured.
        hardware: True where a real robot moves: pacing is then realtime and uniform warm-up is refused.
        operators: Names of the operators that can drive it.
        limit: Narrows a config that came over the wire to this machine's own motion limits; asked where a real robot
            moves. Its second argument is the longest move of one step in [m], 0 for the environment's own default.
            Raises EnvError where a limit is part of the contract and therefore cannot be narrowed on one side.
    """

    config: Callable[[], type]
    contract: Callable[[Any], Contract]
    make: Callable[[Any, str | None], gym.Env]
    hardware: bool = False
    operators: tuple[str, ...] = ("none", "keyboard")
    limit: Callable[[Any, float], Any] = lambda config, max_step_m: config


def env_entry(name: str) -> EnvEntry:
    """Raises EnvError naming the nearest registered name."""
    if name not in ENVS:
        near = difflib.get_close_matches(name, ENVS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise EnvError(f"no environment {name!r}.{hint} There are: {sorted(ENVS)}")
    return ENVS[name]


def env_config_type(name: str) -> type:
    """The config dataclass of an environment. Raises EnvError for an unknown name."""
    return env_entry(name).config()


def derive_contract(name: str, config: Any) -> Contract:
    """The contract a config gives; the learner and every actor derive it on their own and compare.

    Raises EnvError for an unknown name, a config of another type, or an environment that cannot be trained.
    """
    try:
        return _checked(name, config).contract(config)
    except ContractError as error:
        raise _view_error(error) from None


def make_env(name: str, config: Any, *, render_mode: str | None = None) -> gym.Env:
    """The environment, wrapped: observations are a Dict of the contract's stored features in its order, actions a
    float32 Box of shape (action_size,) in [-1, 1], and the time limit truncates. ``reset(seed=start_seed)`` fixes the
    start state. An image that a camera did not give is absent, and ``info["lost_camera"]`` says why.

    Raises EnvError as ``derive_contract`` does.
    """
    env = _checked(name, config).make(config, render_mode)
    if not has_images(env.observation_space):
        return env
    try:
        return ImageView(env, config.image_crop, config.image_resize)
    except ContractError as error:
        env.close()
        raise _view_error(error) from None


def _view_error(error: ContractError) -> EnvError:
    return EnvError(
        f"{error}. Set env.image_crop=[top,left,height,width] and env.image_resize=[height,width] in whole pixels, or "
        "leave them empty"
    )


def _checked(name: str, config: Any) -> EnvEntry:
    entry = env_entry(name)
    kind = entry.config()
    if not isinstance(config, kind):
        raise EnvError(f"environment {name!r} needs a {kind.__name__}. Got: {type(config).__name__}")
    return entry


def _so101_sim_config() -> type:
    from envs.so101_interface import SO101SimConfig

    return SO101SimConfig


def _so101_sim_contract(config: Any) -> Contract:
    from envs.so101_interface import derive_contract

    return derive_contract(config)


def _so101_sim(config: Any, render_mode: str | None) -> gym.Env:
    from envs.so101_sim import make

    return make(config, render_mode)


def _so101_sim_limit(config: Any, max_step_m: float) -> Any:
    from envs.so101_interface import limited

    return limited(config, max_step_m)


def _gym_config() -> type:
    from envs.generic import GymConfig

    return GymConfig


def _gym_contract(config: Any) -> Contract:
    from envs.generic import derive_contract

    return derive_contract(config)


def _gym(config: Any, render_mode: str | None) -> gym.Env:
    from envs.generic import make

    return make(config, render_mode)


ENVS: dict[str, EnvEntry] = {
    "so101_sim": EnvEntry(
        _so101_sim_config,
        _so101_sim_contract,
        _so101_sim,
        operators=("none", "scripted", "keyboard"),
        limit=_so101_sim_limit,
    ),
    "gym": EnvEntry(_gym_config, _gym_contract, _gym),
}
