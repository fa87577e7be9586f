"""Any gymnasium environment with a Box action and a Box, Dict or Tuple observation: ``env=gym env.id=Pendulum-v1``.

Images in the observation are cameras, see ``envs.named_observation``.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium.wrappers import AddRenderObservation

from envs.action_codec import ActionCodec
from envs.errors import EnvError
from envs.mujoco_gl import choose_backend
from envs.named_observation import NamedObservation
from episodes.contract import Contract, Feature, FeatureView, Interface, View

ID = re.compile(r"[\w.\-]+(/[\w.\-]+)?", re.ASCII)
SETTING = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*([\w+\-]+(?:\.\d*)?(?:[eE][+\-]?\d+)?)\s*", re.ASCII)
RESERVED = ("render_mode", "max_episode_steps", "disable_env_checker", "vectorization_mode", "env_id", "make_kwargs")


@dataclass(frozen=True)
class GymConfig:
    """A registered gymnasium environment.

    Attributes:
        id: Its registered id, e.g. ``Pendulum-v1``. Ids with ``:`` import modules and are refused.
        max_episode_steps: Steps after which an episode is truncated; 0 for the environment's own limit.
        settings: Keyword arguments of the environment, ``name=value,name=value``: numbers, true, false and plain words.
        action_limit: Replaces infinite action bounds by -action_limit..action_limit; 0 refuses them.
        stack: Frames of every vector observation the policy sees at once.
        pixels: The policy sees what ``render()`` shows, as its only camera, in place of the environment's observation.
        image_crop: What is kept of every image: top, left, height, width in pixels; empty for all of it.
        image_resize: Height and width in pixels of every image after the crop; empty for none.
        image_stack: Frames of every image the policy sees at once.
        control_hz: Control rate for driving in real time, in [Hz]; 0 where time has no meaning.
    """

    id: str = "Pendulum-v1"
    max_episode_steps: int = 0
    settings: str = ""
    action_limit: float = 0.0
    stack: int = 1
    pixels: bool = False
    image_crop: tuple[int, ...] = ()
    image_resize: tuple[int, ...] = ()
    image_stack: int = 1
    control_hz: float = 0.0


def make(config: GymConfig, render_mode: str | None = None) -> gym.Env:
    """The wrapped environment, see ``envs.registry.make_env``. Raises EnvError with what to do."""
    return _wrapped(config, render_mode)[0]


def derive_contract(config: GymConfig) -> Contract:
    """The contract, read from the spaces of the environment, which is made and closed. Raises EnvError."""
    env, observation, codec = _wrapped(config, None)
    env.close()
    for key in ("stack", "image_stack"):
        if getattr(config, key) < 1:
            raise EnvError(f"env.{key} must be at least 1. Got: {getattr(config, key)}")
    size = codec.low.size
    limits = [f"{low:g}..{high:g}" for low, high in zip(codec.low, codec.high, strict=True)]
    limits = limits[:1] if len(set(limits)) == 1 else limits
    return Contract(
        Interface(
            task=f"gym/{config.id}",
            observations=observation.features,
            action=Feature(
                "action", "float32", (size,), tuple(f"action_{i}" for i in range(size)), low=(-1.0,), high=(1.0,)
            ),
            action_meaning=f"the environment's own action, {', '.join(limits)}, rescaled to -1..1",
            control_hz=config.control_hz,
        ),
        View(tuple(_view(f, config) for f in observation.features)),
    )


def _view(feature: Feature, config: GymConfig) -> FeatureView:
    if feature.is_image:
        return FeatureView(feature.name, config.image_crop, config.image_resize, config.image_stack)
    return FeatureView(feature.name, stack=config.stack)


def _wrapped(config: GymConfig, render_mode: str | None) -> tuple[gym.Env, NamedObservation, ActionCodec]:
    env = _made(config, render_mode)
    try:
        observation = NamedObservation(env)
        codec = ActionCodec(observation, config.action_limit)
    except EnvError as error:
        env.close()
        raise EnvError(f"environment {config.id!r}: {error}") from None
    return codec, observation, codec


def _made(config: GymConfig, render_mode: str | None) -> gym.Env:
    _check_id(config.id)
    arguments = _arguments(config.settings)
    if config.max_episode_steps < 0:
        raise EnvError(f"env.max_episode_steps must be 0 or more. Got: {config.max_episode_steps}")
    if render_mode or config.pixels:
        arguments["render_mode"] = render_mode or "rgb_array"
    choose_backend()
    steps = config.max_episode_steps or None
    try:
        env = gym.make(config.id, max_episode_steps=steps, disable_env_checker=True, **arguments)
        return AddRenderObservation(env, render_only=True) if config.pixels else env
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        raise EnvError(
            f"environment {config.id!r} needs a package that is not installed here: {_line(error)}. "
            "Install it into .venv on every machine of the run"
        ) from error
    except TypeError as error:
        hint = f" Check env.settings={config.settings!r}" if config.settings else ""
        raise EnvError(f"environment {config.id!r} could not be made: {_line(error)}.{hint}") from error
    except Exception as error:
        raise EnvError(
            f"environment {config.id!r} could not be made: {type(error).__name__}: {_line(error)}"
        ) from error


def _check_id(id: str) -> None:
    if ":" in id:
        raise EnvError(
            f"env.id must be a registered id. Got: {id!r}: ids with ':' import modules and are refused. "
            "Environments of installed packages that register themselves with gymnasium are found by their plain id"
        )
    if not ID.fullmatch(id):
        raise EnvError(f"env.id must be a registered id like 'Pendulum-v1'. Got: {id!r}")
    if id in gym.registry or _newest(id) is not None:
        return
    by_case = {known.lower(): known for known in gym.registry}
    near = difflib.get_close_matches(id.lower(), by_case, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(by_case[n]) for n in near)}?" if near else ""
    raise EnvError(
        f"no gymnasium environment {id!r} is registered.{hint} "
        "`python -c 'import gymnasium; gymnasium.pprint_registry()'` lists them"
    )


def _newest(id: str) -> str | None:
    """The id with the highest version of a name given without one."""
    versions = [s for s in gym.registry.values() if id == (f"{s.namespace}/{s.name}" if s.namespace else s.name)]
    return max(versions, key=lambda s: s.version or 0).id if versions else None


def _arguments(settings: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for item in filter(str.strip, settings.split(",")):
        match = SETTING.fullmatch(item)
        if not match:
            raise EnvError(
                "env.settings must be name=value,name=value with numbers, true, false or plain words. "
                f"Got: {item.strip()!r} in {settings!r}"
            )
        name, text = match.groups()
        if name in RESERVED:
            raise EnvError(f"env.settings cannot set {name!r}. Reserved: {list(RESERVED)}")
        arguments[name] = _value(text)
    return arguments


def _value(text: str) -> int | float | bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
