"""The folders are the packages: nothing locked may ship a top-level module of one of their names."""

import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_no_dependency_ships_a_module_of_our_name():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    ours = {name.split(".")[0] for name in packages}
    site_packages = Path(sysconfig.get_path("purelib"))
    shipped = {path.name.split(".")[0] for path in site_packages.iterdir() if path.suffix != ".dist-info"}
    assert "numpy" in shipped
    assert shipped & ours == set()


def test_every_room_is_packaged():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    rooms = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for init in ROOT.glob("[a-z]*/**/__init__.py")
        if init.relative_to(ROOT).parts[0] not in ("tests", "benchmarks", "build", "runs")
    }
    assert rooms == set(packages)
