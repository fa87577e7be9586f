from pathlib import Path

import pytest

from learner.memory import _container_bytes, free_memory_bytes


def test_free_memory_is_a_plausible_number():
    assert 2**20 < free_memory_bytes() < 2**50


@pytest.mark.parametrize(("limit", "left"), [("max", float("inf")), ("1000", 600), ("300", 0)])
def test_a_container_has_what_its_limit_leaves(tmp_path: Path, limit: str, left: float):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert _container_bytes(tmp_path) == left


def test_no_container_sets_no_limit(tmp_path: Path):
    assert _container_bytes(tmp_path) == float("inf")
