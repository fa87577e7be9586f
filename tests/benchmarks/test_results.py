"""docs/results.* from made-up summaries, and cells that are stopped in time."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import results


@pytest.fixture
def cell(tmp_path, monkeypatch):
    """A cell in a folder of its own, with a function that gives any cell a summary."""
    monkeypatch.setattr(results, "RUNS", tmp_path / "runs")

    def finish(group, seed, successes, **more):
        summary = {"seed": seed, "successes": successes, "episodes": 50, "success_rate": successes / 50}
        summary |= {"reached": successes >= 45, "intervention_rate_first": None, "intervention_rate": 0.01}
        summary |= {"cycle_steps": 12.5, "operator_cycle_steps": 15.5, "env_steps": 2000, "updates": 4000}
        summary |= {"train_wall_s": 61.0, "first_update_s": 9.0, **more}
        folder = results.Cell(group, seed).folder
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps(summary))

    return finish


def test_seeds_come_first_then_the_ablations_seed_by_seed():
    names = [(cell.group, cell.seed) for cell in results.cells()]
    assert names[:5] == [("lift-state", seed) for seed in range(5)]
    assert [seed for _, seed in names[5:]] == [0] * 4 + [1] * 4 + [2] * 4
    assert {group for group, _ in names} == set(results.GROUPS)


def test_documents_pool_the_seeds_and_say_what_was_reached(cell, tmp_path):
    cell("lift-state", 0, 50)
    cell("lift-state", 1, 44)
    cell("learning-off", 0, 10, reached=False, train_wall_s=None, cycle_steps=None)
    results.write(tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())
    pooled = found["pooled"]["lift-state"]
    assert (pooled["seeds"], pooled["reached"], pooled["successes"], pooled["worst_seed"]) == (2, 1, 94, 0.88)
    assert pooled["ci_low"] == pytest.approx(0.8752, abs=1e-3)
    assert [run["reached"] for run in found["runs"]] == [True, False, False]
    assert len(found["not_run"]) == 14
    assert "CPU cores" in found["machine"]
    text = (tmp_path / "results.md").read_text()
    assert "| lift-state | 0 | yes | 50/50 | - | 0.010 | 12.5 | 15.5 | 2000 | 4000 | 61 | 9.0 |" in text
    assert "| learning-off | 0 | no | 10/50 |" in text
    assert found["machine"] in text
    assert "Not run yet: lift-state seed 2" in text


def test_nothing_has_run_yet(cell, tmp_path):
    results.write(tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["pooled"] == {}


@pytest.mark.parametrize(("left_s", "limit_s"), [(3600.0, 900.0), (300.0, 420.0), (1.0, 121.0)])
def test_a_cell_ends_soon_after_the_budget(left_s, limit_s):
    assert results.cell_limit_s(left_s) == limit_s


def test_a_cell_that_takes_too_long_is_stopped_with_all_it_started(cell):
    late = results.Cell("lift-state", 0)
    began = time.monotonic()
    assert results.run(late, limit_s=3.0) == "not finished after 3 s"
    assert time.monotonic() - began < 3.0 + results.STOPS_S + 1.0
    time.sleep(1.0)
    assert str(late.folder) not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
