"""A verb's settings: the choices of configs/ composed by Hydra, then what the run folder says of an earlier start, then
the command line's values, types checked."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cli.errors import UsageError, nearest
from cli.keys import Group, Key, schema_of, type_name

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@dataclass(frozen=True)
class Settings:
    """Composed settings of a verb.

    Attributes:
        values: Value of every key, by its path.
        choices: Chosen option of every group, e.g. ``env``: ``so101_sim``.
        configs: The config dataclass of every group.
        given: Arguments as they were typed.
        tree: All of it as one tree, for config.yaml.
    """

    values: dict[str, Any]
    choices: dict[str, str]
    configs: dict[str, Any]
    given: tuple[str, ...]
    tree: dict[str, Any] = field(repr=False)

    def __getitem__(self, path: str) -> Any:
        return self.values[path]

    def build[T](self, kind: type[T], paths: dict[str, str], **more: Any) -> T:
        """The config dataclass ``kind`` from keys: ``paths`` maps its fields to keys; ``more`` gives other fields.

        Raises UsageError where it refuses the values.
        """
        try:
            return kind(**{name: self.values[path] for name, path in paths.items()}, **more)
        except ValueError as error:
            raise UsageError(str(error)) from error


def compose_verb(
    verb: str,
    keys: Sequence[Key],
    groups: Sequence[Group],
    arguments: Iterable[str],
    stored_values: Callable[[Path], dict[str, Any]] | None = None,
) -> Settings:
    """Settings of ``tandem VERB key=value ...``.

    ``stored_values`` tells the values and choices of an earlier start in the folder that ``run=`` names; they stand in
    for the defaults.

    Raises UsageError naming the key, the nearest known one, and the type or the choices expected.
    """
    arguments = tuple(arguments)
    by_name = {group.name: group for group in groups}
    by_path = {key.path: key for key in keys}
    switches = {f"--{key.path}": f"{key.path}=true" for key in keys if key.kind is bool}
    pairs = [_pair(verb, switches.get(argument, argument)) for argument in arguments]
    folder = dict(pairs).get("run", "")
    stored = stored_values(Path(folder)) if stored_values is not None and folder else {}
    choices = {g.name: checked_choice(g.name, stored.get(g.name, g.default), g.options) for g in groups}
    for name, value in pairs:
        if name in by_name:
            choices[name] = checked_choice(name, value, by_name[name].options)
    tree = _composed(verb, keys, groups, choices, stored | dict(pairs))
    leaves = {**{path: key.kind for path, key in by_path.items()}, **_group_leaves(groups, choices)}
    for name, value in stored.items():
        group = name.partition(".")[0]
        if name in leaves and (group not in choices or choices[group] == stored.get(group)):
            _set(tree, name, value, leaves[name])
    for name, value in pairs:
        if name in by_name:
            continue
        if name not in leaves:
            raise UsageError(_unknown(verb, name, [*leaves, *by_name]))
        parsed = _value(name, value, leaves[name])
        allowed = by_path[name].choices if name in by_path else ()
        if allowed and parsed not in allowed:
            raise UsageError(
                f"{name} must be one of {', '.join(allowed)}. "
                f"Got: {parsed!r}{_after_dot(nearest(str(parsed), allowed))}"
            )
        _set(tree, name, parsed, leaves[name], value)
    values = {}
    for path, key in by_path.items():
        if OmegaConf.is_missing(*_holder(tree, path)):
            raise UsageError(f"tandem {verb} needs {path}=...: {key.doc}")
        values[path] = _plain(OmegaConf.select(tree, path), key.kind)
    configs = {name: _instance(by_name[name].options[choice], tree[name]) for name, choice in choices.items()}
    return Settings(values, choices, configs, arguments, _resolved(tree, choices))


def defaults_of(
    verb: str,
    keys: Sequence[Key],
    groups: Sequence[Group],
    choices: dict[str, str],
    given: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Default of every key, by path, under these choices of groups, and under the values ``given`` that choose presets;
    ``???`` where the user must give it."""
    tree = _composed(verb, keys, groups, choices, given)
    container = {}
    for path in [*(key.path for key in keys), *_group_leaves(groups, choices)]:
        node, leaf = _holder(tree, path)
        container[path] = "???" if OmegaConf.is_missing(node, leaf) else OmegaConf.select(tree, path)
    return container


def _pair(verb: str, argument: str) -> tuple[str, str]:
    name, equals, value = argument.partition("=")
    if argument.startswith("-"):
        raise UsageError(f"unknown option {argument!r}. Settings are written key=value: see `tandem {verb} --help`")
    if not equals:
        raise UsageError(f"{argument!r} is no setting. Settings are written key=value: see `tandem {verb} --help`")
    if name[:1] in "+~" or not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{name!r} is no key. Settings are written key=value: see `tandem {verb} --help`")
    return name, value


def checked_choice(name: str, value: str, options: Iterable[str]) -> str:
    """``value``, where it is one of the options of a group. Raises UsageError naming the nearest."""
    if value not in options:
        raise UsageError(
            f"{name} must be one of {', '.join(options)}. Got: {value!r}{_after_dot(nearest(value, options))}"
        )
    return value


def _composed(
    verb: str, keys: Sequence[Key], groups: Sequence[Group], choices: dict[str, str], given: Mapping[str, Any]
) -> DictConfig:
    store, module = ConfigStore.instance(), verb.replace(" ", "_")
    store.store(group="schema", name=module, node=schema_of(keys, groups), package="_global_")
    for group in groups:
        for option, config in group.options.items():
            store.store(group=group.name, name=option, node=_open(config))
    overrides = [f"{name}={choice}" for name, choice in choices.items()]
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="tandem"):
            tree = compose(module, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(
            f"configs/ could not be composed for `tandem {verb}`: {' '.join(str(error).split())}"
        ) from error
    for place, file in _presets(verb, tree, choices, given):
        _merge(tree, place, file)
    return tree


def _presets(verb: str, tree: DictConfig, choices: dict[str, str], given: Mapping[str, Any]) -> list[tuple[str, Path]]:
    """The preset files for this task and these observations, and the part of the tree each is for, in order.

    ENV_ALGORITHM is in the lists of defaults already. More special files come later, and win: ENV_TASK_ALGORITHM,
    ENV_OBS_ALGORITHM, ENV_TASK_OBS_ALGORITHM; and VERB_TASK, VERB_OBS, VERB_TASK_OBS for keys of the verb's own.
    """
    env = tree.get("env", {})
    task = str(given.get("env.task", env.get("task", "")))
    obs = str(given.get("obs", given.get("env.obs", tree.get("obs", env.get("obs", "")))))
    special = [parts for parts in ((task,), (obs,), (task, obs)) if all(parts)]
    names = [("", (verb, *parts)) for parts in special]
    if {"env", "algorithm"} <= choices.keys():
        names += [("algorithm", (choices["env"], *parts, choices["algorithm"])) for parts in special]
    found = [(place, CONFIGS / "preset" / f"{'_'.join(parts)}.yaml") for place, parts in names]
    return [(place, file) for place, file in found if file.is_file()]


def _merge(tree: DictConfig, place: str, file: Path) -> None:
    try:
        values = OmegaConf.load(file)
        OmegaConf.update(tree, place, values) if place else tree.merge_with(values)
    except (OSError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UsageError(f"{file} cannot be used: {' '.join(str(error).split())}") from error


def _open(config: type) -> DictConfig:
    """A frozen dataclass as a node that presets may still set."""
    node = OmegaConf.structured(config)
    OmegaConf.set_readonly(node, None)
    return node


def _group_leaves(groups: Iterable[Group], choices: dict[str, str]) -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for group in groups:
        config = group.options[choices[group.name]]
        hints = typing.get_type_hints(config)
        fields = (f.name for f in dataclasses.fields(config) if f.name != "name")
        leaves |= {f"{group.name}.{name}": hints[name] for name in fields}
    return leaves


def _unknown(verb: str, name: str, known: list[str]) -> str:
    if inside := [key for key in known if key.startswith(f"{name}.")]:
        return f"{name!r} holds keys and has no value of its own. It has: {', '.join(inside)}"
    return f"unknown key {name!r}.{nearest(name, known)} `tandem {verb} --help` lists all keys"


def _value(name: str, text: str, kind: Any) -> Any:
    if kind is str:
        quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
        return text[1:-1] if quoted else text
    try:
        override = OverridesParser.create().parse_override(f"{name}={text}")
        if override.is_sweep_override():
            raise UsageError(f"{name} must be {type_name(kind)}; a list is written [a,b]. Got: {text!r}")
        value = override.value()
        return [value] if kind == tuple[str, ...] and isinstance(value, str) else value
    except HydraException as error:
        if kind == tuple[str, ...]:  # Hydra wants quotes around what is not a word, e.g. tool.z>0.06
            return [item.strip() for item in text.removeprefix("[").removesuffix("]").split(",")]
        raise UsageError(f"{name} must be {type_name(kind)}. Got: {text!r}") from error


def _set(tree: DictConfig, name: str, value: Any, kind: Any, typed: str | None = None) -> None:
    try:
        OmegaConf.update(tree, name, _literal(value), merge=False)
    except (OmegaConfBaseException, ValueError) as error:
        raise UsageError(f"{name} must be {type_name(kind)}. Got: {value if typed is None else typed!r}") from error


def _literal(value: Any) -> Any:
    """``value`` without interpolations: what is typed, or stored in a run, is text, and reads no environment."""
    if isinstance(value, str):
        return value.replace("${", "\\${")
    return [_literal(item) for item in value] if isinstance(value, list) else value


def _after_dot(hint: str) -> str:
    return f".{hint}" if hint else ""


def _holder(tree: DictConfig, path: str) -> tuple[Any, str]:
    parent, _, leaf = path.rpartition(".")
    return (OmegaConf.select(tree, parent) if parent else tree), leaf


def _instance(kind: type, node: Any) -> Any:
    hints = typing.get_type_hints(kind)
    try:
        return kind(**{f.name: _plain(node[f.name], hints[f.name]) for f in dataclasses.fields(kind)})
    except ValueError as error:
        raise UsageError(str(error)) from error


def _plain(value: Any, kind: Any) -> Any:
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    is_tuple = any(typing.get_origin(k) is tuple for k in (kind, *typing.get_args(kind)))
    return tuple(value) if is_tuple and isinstance(value, list) else value


def _resolved(tree: DictConfig, choices: dict[str, str]) -> dict[str, Any]:
    container = typing.cast(dict[str, Any], OmegaConf.to_container(tree, resolve=True))
    for name, choice in choices.items():
        container[name] = {"name": choice, **{k: v for k, v in container[name].items() if k != "name"}}
    return container
