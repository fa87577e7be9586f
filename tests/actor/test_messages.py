"""What messages tell a person to set can be set."""

import ast
import re
from pathlib import Path

import pytest

from actor import main
from cli import actor, learner, record

FILES = sorted(Path(main.__file__).parent.glob("*.py"))
HINT = re.compile(r"(?<![\w.])([a-z][a-z0-9_.]*)=(?=[\w{]|$)")


def texts(tree):
    """Literal text of every message: docstrings and bare names are none."""
    docs = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def known(verb):
    keys = {key.path for key in verb.list_keys()}
    for group in verb.list_groups():
        keys.add(group.name)
        for option in group.options.values():
            keys |= {f"{group.name}.{name}" for name in option.__dataclass_fields__}
    return keys


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_key_that_a_message_names_is_one(path):
    here = known(record) if path.name.startswith("record") else known(actor)
    # "at the learner" and "there" name the learner's keys, and "data" and "name" are of other verbs.
    keys = here | {"demos", "warmup", "pacing", "env", "data", "name", *(k for k in known(learner) if "." in k)}
    named = {name for text in texts(ast.parse(path.read_text())) for name in HINT.findall(text)}
    assert named <= keys


def test_hints_are_found():
    found = {name for path in FILES for text in texts(ast.parse(path.read_text())) for name in HINT.findall(text)}
    assert {"actor.name", "actor.uniform_on_hardware", "actor.control_hz", "actor.policy_mb", "operator"} <= found
