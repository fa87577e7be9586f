"""What `make fuzz` starts from is read without an error."""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("guided", Path(__file__).with_name("guided.py"))
guided = importlib.util.module_from_spec(spec)
spec.loader.exec_module(guided)


@pytest.mark.parametrize("name", guided.TARGETS)
def test_a_target_reads_what_it_starts_from_and_refuses_what_is_cut(name):
    read, seeds = guided.TARGETS[name]()
    assert seeds
    for seed in seeds:
        for data in (seed, seed[:-3], seed[: len(seed) // 2], b""):
            read(data)
