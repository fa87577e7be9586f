"""Nothing that reads data may run code: no pickle, no eval, no unsafe torch.load, no imports by a name from outside."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("transport", "episodes", "policies", "envs", "reward", "learner", "actor", "metrics", "cli")
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "__import__"}
FORBIDDEN_ATTRIBUTES = {("hydra", "instantiate"), ("torch", "load"), ("yaml", "load"), ("yaml", "unsafe_load")}


def violations(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.split(".")[0] in FORBIDDEN_MODULES:
                found.append(module)
            if module.startswith("hydra") and any(alias.name in ("instantiate", "call") for alias in node.names):
                found.append(f"{module}.instantiate")
        elif isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id in FORBIDDEN_CALLS:
                found.append(function.id)
            owner = getattr(function, "value", None)
            if isinstance(owner, ast.Name) and (owner.id, getattr(function, "attr", "")) in FORBIDDEN_ATTRIBUTES:
                found.append(ast.unparse(function))
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and getattr(keyword.value, "value", None) is not False:
                    found.append("allow_pickle")
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_room_runs_no_data(room):
    found = {
        str(path.relative_to(ROOT)): bad
        for path in (ROOT / room).rglob("*.py")
        if (bad := violations(path.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from dill import loads", "eval('1')", "torch.load(f)", "np.load(f, allow_pickle=True)"],
)
def test_the_scan_finds(source):
    assert violations(source)
