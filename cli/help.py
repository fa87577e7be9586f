"""The texts of `tandem --help` and `tandem VERB --help`."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cli.verbs import VERBS, Verb

if TYPE_CHECKING:
    from cli.keys import Group, Key

FOOTER = "Settings are written key=value. Documentation: README.md and docs/."


def overview() -> str:
    """Help of `tandem` itself."""
    width = max(len(name) for name in VERBS)
    lines = [
        "tandem: human-in-the-loop robot learning, a learner and its actors",
        "",
        "Usage: tandem VERB [key=value ...]",
        "",
        "Verbs:",
        *(f"  {verb.name:<{width}}  {verb.summary}" for verb in VERBS.values()),
        "",
        "Examples:",
        *_examples([VERBS["demo"].examples[0], VERBS["learner"].examples[0], VERBS["actor"].examples[1]]),
        "",
        "`tandem VERB --help` lists every key of a verb, its default and what it does.",
        FOOTER,
    ]
    return "\n".join(lines)


def verb_help(verb: Verb, keys: Sequence[Key], groups: Sequence[Group], choices: dict[str, str]) -> str:
    """Help of one verb: examples, then every key with default, type and one line, under these choices of groups."""
    from cli.composition import defaults_of

    defaults = defaults_of(verb.name, keys, groups, choices)
    lines = [
        f"tandem {verb.name}: {verb.summary}",
        "",
        *textwrap.wrap(verb.about, _width()),
        "",
        f"Usage: tandem {verb.name} [key=value ...]",
        "",
        "Examples:",
        *_examples(verb.examples),
    ]
    plain = [key for key in keys if "." not in key.path]
    lines += _section("Keys", [_row(key, defaults[key.path]) for key in plain])
    sections = dict.fromkeys(key.path.split(".")[0] for key in keys if "." in key.path)
    for section in sections:
        rows = [_row(key, defaults[key.path]) for key in keys if key.path.startswith(f"{section}.")]
        lines += _section(section, rows)
    for group in groups:
        lines += _section(group.name, _group_rows(group, choices[group.name], defaults))
        if others := [option for option in group.options if option != choices[group.name]]:
            lines += ["", f"  For the keys of {others[0]}: tandem {verb.name} {group.name}={others[0]} --help"]
    return "\n".join([*lines, "", FOOTER])


def _group_rows(group: Group, choice: str, defaults: dict[str, Any]) -> list[tuple[str, str]]:
    from cli.keys import as_text, docs_of

    docs = docs_of(group.options[choice])
    rows = [(f"{group.name}={choice}", f"{group.doc} One of: {', '.join(group.options)}.")]
    for path, default in defaults.items():
        if path.startswith(f"{group.name}."):
            rows.append((f"{path}={as_text(default)}", docs.get(path.partition(".")[2], "")))
    return rows


def _row(key: Key, default: Any) -> tuple[str, str]:
    from cli.keys import as_text, type_name

    missing = default == "???"
    doc = key.doc
    if key.choices and not all(choice in doc for choice in key.choices):
        doc = f"{doc} One of: {', '.join(key.choices)}."
    kind = type_name(key.kind).removeprefix("a ")
    return f"{key.path}={'...' if missing else as_text(default)}", f"{doc} ({'required, ' if missing else ''}{kind})"


def _section(title: str, rows: list[tuple[str, str]]) -> list[str]:
    lines = ["", f"{title}:"]
    for head, doc in rows:
        first, *rest = textwrap.wrap(doc, max(_width() - 36, 40)) or [""]
        if len(head) > 32:
            lines += [f"  {head}", f"{'':36}{first}"]
        else:
            lines.append(f"  {head:<33} {first}".rstrip())
        lines += [f"{'':36}{line}" for line in rest]
    return lines


def _examples(examples: Iterable[tuple[str, str]]) -> list[str]:
    examples = list(examples)
    width = max(len(command) for command, _ in examples)
    return [f"  {command:<{width}}  # {meaning}" for command, meaning in examples]


def _width() -> int:
    return min(max(shutil.get_terminal_size((110, 24)).columns, 80), 120)
