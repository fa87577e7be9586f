"""What the trials are made of is imported as `faults`, here as in `make faults`."""

import sys
from pathlib import Path

import gymnasium
import pytest

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent / "recorded")]

if "Recorded-v0" not in gymnasium.registry:
    gymnasium.register("Recorded-v0", entry_point="recorded_env:RecordedEnv", max_episode_steps=25)


@pytest.fixture
def tree(tmp_path):
    """A light tree that runs."""
    from faults.tree import Tree

    with Tree(tmp_path / "tree") as tree:
        yield tree
