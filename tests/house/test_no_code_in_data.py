"""Nothing that reads data may run code: no pickle, no eval, no unsafe torch.load, no imports by a name from outside."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("transport", "episodes", "policies", "envs", "reward", "learner", "actor", "metrics", "cli")
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "__import__"}
FORBIDDEN_TEXTS = ("_target_", "hydra.utils")
IMPORTS_BY_NAME = {"cli/main.py", "learner/algorithms/__init__.py"}
"""Where a module is imported by a name of a list in the code: the verbs, the algorithms."""
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
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [text for text in FORBIDDEN_TEXTS if node.value == text]
        elif isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id in FORBIDDEN_CALLS:
                found.append(function.id)
            owner = getattr(function, "value", None)
            if isinstance(owner, ast.Name) and (owner.id, getattr(function, "attr", "")) in FORBIDDEN_ATTRIBUTES:
                found.append(ast.unparse(function))
            if getattr(function, "attr", getattr(function, "id", "")) == "import_module":
                found.append("import_module")
            for keyword in node.keywords:
                if keyword.arg == "shell" and getattr(keyword.value, "value", None) is not False:
                    found.append("shell")
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
    for name in IMPORTS_BY_NAME & found.keys():
        found[name].remove("import_module")
    assert {name: bad for name, bad in found.items() if bad} == {}


def test_no_config_names_a_class():
    files = [*(ROOT / "configs").rglob("*.yaml"), *(ROOT / "proto").glob("*.proto")]
    assert files
    assert [path for path in files if any(text in path.read_text() for text in FORBIDDEN_TEXTS)] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from dill import loads",
        "eval('1')",
        "torch.load(f)",
        "np.load(f, allow_pickle=True)",
        "importlib.import_module(name)",
        "config['_target_']",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_scan_finds(source):
    assert violations(source)
