"""The keys of a verb: each a field of some room's config dataclass, under the name the command line gives it.

Types, defaults and one-line docs come from the dataclass, so nothing is written twice.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any


@dataclass(frozen=True)
class Key:
    """One key of a verb.

    Attributes:
        path: Name on the command line, dotted, e.g. ``learner.address``.
        kind: Type of the value.
        default: Its default; ``dataclasses.MISSING`` where the user must give it.
        doc: One line.
        choices: Allowed values; empty where any of the type will do.
    """

    path: str
    kind: Any
    default: Any
    doc: str
    choices: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING


@dataclass(frozen=True)
class Group:
    """A key that chooses a config of its own, whose fields become ``NAME.field``: ``env`` and ``algorithm``.

    Attributes:
        name: Key on the command line.
        options: Config dataclass by choice.
        default: The choice unless given.
        doc: One line.
    """

    name: str
    options: dict[str, type]
    default: str
    doc: str


def keys_of(config: type, paths: dict[str, str], *, choices: dict[str, tuple[str, ...]] | None = None) -> list[Key]:
    """Keys for fields of a dataclass: ``paths`` maps field to key. Raises KeyError for a field it does not have."""
    docs, hints = docs_of(config), typing.get_type_hints(config)
    fields = {f.name: f for f in dataclasses.fields(config)}
    return [
        Key(path, hints[name], default_of(fields[name]), docs.get(name, ""), (choices or {}).get(name, ()))
        for name, path in paths.items()
    ]


def default_of(field: dataclasses.Field) -> Any:
    """Default of a dataclass field, MISSING where it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def docs_of(config: type) -> dict[str, str]:
    """One line per field of a dataclass, from the ``Attributes:`` of its docstring and of those of its bases, or from
    the text below the field."""
    docs: dict[str, str] = {}
    for kind in reversed([kind for kind in config.__mro__ if dataclasses.is_dataclass(kind)]):
        docs |= {**_docs_below_fields(kind), **_docs_in_attributes(kind)}
    return {name: " ".join(doc.replace("``", "").split()) for name, doc in docs.items()}


def _docs_in_attributes(config: type) -> dict[str, str]:
    docs: dict[str, str] = {}
    _, _, section = inspect.cleandoc(config.__doc__ or "").partition("\nAttributes:\n")
    names: list[str] = []
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        if match := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line):
            names = match.group(1).split(", ")
            docs |= dict.fromkeys(names, match.group(2))
        elif line.strip() and names:
            docs |= {name: f"{docs[name]} {line.strip()}" for name in names}
    return docs


def _docs_below_fields(config: type) -> dict[str, str]:
    body = typing.cast(ast.ClassDef, ast.parse(inspect.cleandoc(inspect.getsource(config))).body[0]).body
    return {
        field.target.id: below.value.value
        for field, below in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


def schema_of(keys: Iterable[Key], groups: Iterable[Group]) -> type:
    """A dataclass with the keys' paths as nested fields, and a place for each group, for Hydra's ConfigStore."""
    tree: dict[str, Any] = {group.name: Key(group.name, Any, None, group.doc) for group in groups}
    for key in keys:
        *parents, leaf = key.path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = key
    return _schema("Config", tree)


def _schema(name: str, tree: dict[str, Any]) -> type:
    fields: list[tuple[str, Any, Any]] = []
    for field, node in tree.items():
        if isinstance(node, dict):
            kind = _schema(field.title(), node)
            fields.append((field, kind, dataclasses.field(default_factory=kind)))
        elif node.required:
            fields.append((field, node.kind, dataclasses.field(default="???")))
        else:
            fields.append((field, node.kind, dataclasses.field(default_factory=partial(_same, node.default))))
    return dataclasses.make_dataclass(name, fields)


def _same(value: Any) -> Any:
    return value


def type_name(kind: Any) -> str:
    """A type in words: ``a whole number``, ``text``, ``a list of numbers``."""
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if kind in words:
        return words[kind]
    arguments = [a for a in typing.get_args(kind) if a not in (type(None), Ellipsis)]
    if typing.get_origin(kind) in (tuple, list) and arguments:
        item = {int: "whole numbers", float: "numbers", str: "texts"}.get(arguments[0], "values")
        return f"a list of {item}"
    return " or ".join(type_name(a) for a in arguments) if arguments else getattr(kind, "__name__", str(kind))


def as_text(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable):
        return f"[{','.join(as_text(item) for item in value)}]"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else repr(value)
