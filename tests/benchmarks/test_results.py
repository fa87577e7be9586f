"""docs/results.* from made-up summaries, and cells that are stopped in time."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli import demo
from cli.composition import compose_verb

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import cells, results


@pytest.fixture
def cell(tmp_path, monkeypatch):
    """A cell in a folder of its own, with a function that gives any cell a summary."""
    monkeypatch.setattr(cells, "RUNS", tmp_path / "runs")

    def finish(group, seed, successes, **more):
        summary = {"seed": seed, "successes": successes, "episodes": 50, "success_rate": successes / 50}
        summary |= {"reached": successes >= 45, "intervention_rate_first": None, "intervention_rate": 0.01}
        summary |= {"cycle_steps": 12.5, "operator_cycle_steps": 15.5, "env_steps": 2000, "updates": 4000}
        summary |= {"train_wall_s": 61.0, "first_update_s": 9.0, **more}
        folder = results.Cell(group, seed).folder
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps(summary))
        curve = [{"env_steps": 100 * i, "updates": i, "eval_success_rate": i / 2} for i in range(3)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in curve))
        return results.row_of(results.Cell(group, seed))

    return finish


def test_the_figures_of_the_readme_come_first_and_every_group_has_its_seeds():
    names = [(cell.group, cell.seed) for cell in results.cells()]
    assert names[:10] == [(group, seed) for group in ("lift-pixels", "lift-state") for seed in range(5)]
    assert len(set(names)) == len(names)
    assert {group for group, _ in names} == set(cells.GROUPS)


@pytest.mark.parametrize("cell", [c for c in cells.cells() if c.seed == 0], ids=lambda cell: cell.group)
def test_the_settings_of_a_group_are_those_of_a_demo(cell):
    verb, *settings = cell.arguments
    composed = compose_verb(verb, demo.list_keys(), demo.list_groups(), settings)
    assert composed["seed"] == 0
    insert = "insert" in cell.group
    assert (composed.configs["env"].task == "insert") == insert
    assert composed["demonstrations"] >= 20 or not insert
    if insert:  # a fixed budget of steps, however long they take
        assert (composed["stop.max_time_s"], composed["stop.when_autonomous"]) == (0, False)
    else:  # what is compared has one budget
        assert composed["stop.max_env_steps"] == (200 if "cloning" in cell.group else 3000)
    if "dagger" in cell.group:  # imitation asks no critic
        algorithm = composed.configs["algorithm"]
        assert (algorithm.q_weight, algorithm.clone_filter) == (0.0, False)


def test_documents_pool_the_seeds_and_say_what_was_reached(cell, tmp_path):
    results.write(tmp_path, [cell("lift-state", 0, 50)])
    results.write(tmp_path, [cell("lift-state", 1, 44)])
    results.write(tmp_path, [cell("learning-off", 0, 10, reached=False, train_wall_s=None, cycle_steps=None)])
    found = json.loads((tmp_path / "results.json").read_text())
    pooled = found["pooled"]["lift-state"]
    assert (pooled["seeds"], pooled["reached"], pooled["successes"], pooled["worst_seed"]) == (2, 1, 94, 0.88)
    assert pooled["ci_low"] == pytest.approx(0.8752, abs=1e-3)
    assert [run["reached"] for run in found["runs"]] == [True, False, False]
    assert len(found["not_run"]) == len(results.cells()) - 3
    assert "CPU cores" in found["machine"]
    text = (tmp_path / "results.md").read_text()
    assert "| lift-state | 0 | yes | 50/50 | - | 0.010 | 12.5 | 15.5 | 2000 | 4000 | 61 | 9.0 |" in text
    assert "| learning-off | 0 | no | 10/50 |" in text
    assert found["machine"] in text
    assert "\n- lift-state: seeds 2, 3, 4\n" in text.partition("Not run yet:")[2]
    assert text.count("## ") == 1
    assert (tmp_path / "results.png").stat().st_size > 0


def test_what_another_machine_measured_stays_while_its_group_has_the_same_settings(cell, tmp_path, monkeypatch):
    rows = [cell("lift-state", 0, 50), cell("lift-pixels", 3, 50)]
    results.write(tmp_path, rows)
    shutil.rmtree(cells.RUNS)
    assert results.kept(tmp_path) == {results.Cell(row["group"], row["seed"]): row for row in rows}
    assert rows[0]["curves"]["eval_success_rate"] == [[0.0, 100.0, 200.0], [0.0, 0.5, 1.0]]
    assert len(rows[0]["commit"]) >= 7
    assert len(rows[0]["date"]) == 10
    results.write(tmp_path)
    assert [run["group"] for run in json.loads((tmp_path / "results.json").read_text())["runs"]] == [
        "lift-pixels",
        "lift-state",
    ]
    changed = dataclasses.replace(cells.GROUPS["lift-state"], settings=("obs=state",))
    monkeypatch.setitem(cells.GROUPS, "lift-state", changed)
    assert [kept.group for kept in results.kept(tmp_path)] == ["lift-pixels"]


def test_nothing_has_run_yet(cell, tmp_path):
    results.write(tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["pooled"] == {}


@pytest.mark.parametrize(("left_s", "limit_s"), [(3600.0, 900.0), (300.0, 420.0), (1.0, 121.0)])
def test_a_cell_ends_soon_after_the_budget(left_s, limit_s):
    assert results.cell_limit_s(results.Cell("lift-state", 0), left_s) == limit_s


def test_a_cell_that_takes_too_long_is_stopped_with_all_it_started(cell):
    late = results.Cell("lift-state", 0)
    assert results.run(late, limit_s=3.0) == "not finished after 3 s"
    deadline = time.monotonic() + 60
    while str(late.folder) in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)
