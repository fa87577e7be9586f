"""Flat frozen dataclasses of numbers, flags and texts, to and from the typed settings of the wire."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from typing import Any

from transport import service_pb2 as pb


class SettingError(ValueError):
    """A setting that is unknown, missing or of another type."""


def settings_of(config: Any) -> list[pb.Setting]:
    """One message per field of a flat dataclass. Raises SettingError for a value the wire has no type for."""
    return [_message(f.name, getattr(config, f.name)) for f in dataclasses.fields(config)]


def config_from[T](kind: type[T], settings: Iterable[pb.Setting]) -> T:
    """The dataclass ``kind`` from its settings. Raises SettingError naming the key, the expected and the actual."""
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for setting in settings:
        if setting.key not in fields:
            raise SettingError(f"{kind.__name__} has no setting {setting.key!r}. It has: {sorted(fields)}")
        values[setting.key] = _value(kind.__name__, setting, hints[setting.key])
    missing = [
        name
        for name, f in fields.items()
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise SettingError(f"{kind.__name__} needs the settings {missing}, which were not sent")
    return kind(**values)


def _message(key: str, value: Any) -> pb.Setting:
    if isinstance(value, bool):
        return pb.Setting(key=key, flag=value)
    if isinstance(value, int):
        return pb.Setting(key=key, integer=value)
    if isinstance(value, float):
        return pb.Setting(key=key, number=value)
    if isinstance(value, str):
        return pb.Setting(key=key, text=value)
    if isinstance(value, tuple | list):
        if all(isinstance(v, str) for v in value) and value:
            return pb.Setting(key=key, texts=pb.Texts(values=value))
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
            return pb.Setting(key=key, numbers=pb.Numbers(values=value))
    raise SettingError(f"setting {key!r} must be a number, flag, text or a list of numbers or texts. Got: {value!r}")


def _value(owner: str, setting: pb.Setting, hint: Any) -> Any:
    kind = setting.WhichOneof("value")
    origin = typing.get_origin(hint)
    if origin is tuple:
        item = typing.get_args(hint)[0]
        if kind == "texts" and item is str:
            return tuple(setting.texts.values)
        if kind == "numbers" and item is not str:
            return tuple(item(v) for v in setting.numbers.values)
        if kind == "numbers" and not setting.numbers.values:
            return ()
    elif hint is float and kind in ("number", "integer"):
        return float(getattr(setting, kind))
    elif {bool: "flag", int: "integer", str: "text"}.get(hint) == kind:
        return getattr(setting, kind)
    raise SettingError(
        f"setting {owner}.{setting.key} must be {getattr(hint, '__name__', hint)}. Got: {kind or 'nothing'}"
    )
