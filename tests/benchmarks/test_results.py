"""docs/results.* from made-up summaries, and cells that are stopped in time."""

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

from benchmarks import cells, origin, results
from benchmarks.results_document import pool
from benchmarks.results_readme import BEGIN, END, with_tables


def test_the_figures_of_the_readme_come_first_and_every_group_has_its_seeds():
    names = [(cell.group, cell.seed) for cell in results.cells()]
    assert names[:20] == [(group, seed) for group in ("lift-pixels", "lift-state") for seed in range(10)]
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
    text = (tmp_path / "results.md").read_text()
    assert (
        "| lift-state | 0 | yes | 50/50 | - | 0.010 | 12.5 | 15.5 | 2000 | 321 | 4000 | 61 | 9.0 | 1.5 | 2026" in text
    )
    assert "| learning-off | 0 | no | 10/50 |" in text
    assert text.startswith("# Results\n\nOn one; torch 2.\n")
    assert "2026-01-02 abcdef0 |" in text
    assert "\n- lift-state: seeds 2, 3, 4, 5, 6, 7, 8, 9\n" in text.partition("Not run yet:")[2]
    assert text.count("## ") == 1
    assert (tmp_path / "results.png").stat().st_size > 0


def test_what_another_machine_measured_stays_while_its_group_has_the_same_settings(cell, tmp_path):
    rows = [cell("lift-state", 0, 50), cell("lift-pixels", 3, 50)]
    results.write(tmp_path, rows)
    shutil.rmtree(cells.RUNS)
    assert results.kept(tmp_path) == {results.Cell(row["group"], row["seed"]): row for row in rows}
    assert rows[0]["curves"]["eval_success_rate"] == [[0.0, 100.0, 200.0], [0.0, 0.5, 1.0]]
    assert (rows[0]["commit"], rows[0]["load"]) == ("abcdef0", 1.5)
    results.write(tmp_path)
    assert [row["group"] for row in results.kept(tmp_path).values()] == ["lift-pixels", "lift-state"]


def test_when_a_commit_was_made():
    head = subprocess.run(["git", "log", "-1", "--format=%h %ct"], cwd=results.ROOT, capture_output=True, text=True)
    commit, made = head.stdout.split()
    assert origin.committed(f"abcdef0 to {commit}+") == int(made)
    assert origin.committed("unknown") == 0


def test_machines_are_those_of_the_rows(cell, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(f"# T\n{BEGIN}{END}rest\n")
    rows = [cell("lift-state", 0, 50), cell("lift-state", 1, 50), cell("learning-off", 0, 9)]
    rows[2] |= {"machine": "three"}  # not in the tables of the readme
    results.write(tmp_path / "docs", rows)
    assert f"{BEGIN}On one.\n\n| lift |" in (tmp_path / "README.md").read_text()
    rows[1] |= {"machine": "two; torch 2"}
    results.write(tmp_path / "docs", rows)
    text = (tmp_path / "docs" / "results.md").read_text()
    assert text.startswith("# Results\n\n[1] On one; torch 2.\n[2] On two; torch 2.\n[3] On three.\n")
    assert [text.count(f"abcdef0 [{i}] |") for i in (1, 2, 3)] == [1, 1, 1]
    assert "\nOn one, and on two; [docs/results.md](" in (tmp_path / "README.md").read_text()


def test_where_a_run_comes_from_is_noted_before_it_starts(cell, monkeypatch):
    commits = iter(["before", "later", "later"])
    monkeypatch.setattr(results, "origin", lambda: {"date": "2026", "commit": next(commits), "machine": "one"})
    seen = []

    class Demo:
        """Ends at once."""

        def __init__(self, name, arguments, output):
            seen.append(json.loads((output.parent / results.ORIGIN).read_text())["commit"])
            self.log = output

        def wait(self, limit_s):
            seen.append(next(commits))  # made while it ran
            return 0

    monkeypatch.setattr(results, "Child", Demo)
    monkeypatch.setattr(results, "stop_all", lambda children, grace_s: None)
    lift = results.Cell("lift-state", 0)
    results.run(lift, limit_s=1.0)
    assert seen == ["before", "later"]
    made = json.loads((lift.folder / results.ORIGIN).read_text())
    assert made["commit"] == "before"
    assert made["load"] is not None
    monkeypatch.setattr(Demo, "wait", lambda self, limit_s: 0)
    results.run(lift, limit_s=1.0)  # goes on, on another commit
    assert json.loads((lift.folder / results.ORIGIN).read_text())["commit"] == "before to later"


def test_a_run_that_ended_is_taken_over_with_its_settings_and_no_others(cell, tmp_path, monkeypatch, capsys):
    row = cell("lift-state", 0, 50)
    monkeypatch.setattr(results, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(sys, "argv", ["results", "--only", "lift-state seed 0", "--budget-min", "1"])
    monkeypatch.setattr(results, "run", lambda cell, limit_s: pytest.fail("it has run"))
    results.main()
    assert results.kept(tmp_path / "docs") == {results.Cell("lift-state", 0): row}
    (results.Cell("lift-state", 0).folder / results.ORIGIN).unlink()  # as where only its demo came to its end
    unknown = results.row_of(results.Cell("lift-state", 0))
    assert (unknown["commit"], unknown["load"]) == ("unknown", None)
    assert unknown["settings"] == cells.resolved("lift-state")
    settings = results.Cell("lift-state", 0).folder / results.SETTINGS
    settings.write_text(json.dumps(cells.resolved("lift-state") | {"algorithm.gamma": 0.5}))
    assert results.row_of(results.Cell("lift-state", 0)) is None
    settings.unlink()
    assert results.row_of(results.Cell("lift-state", 0)) is None


def test_the_settings_of_a_group_are_those_of_its_presets():
    assert cells.resolved("insert-pixels")["env.play_mm"] == pytest.approx(4.0)
    assert cells.resolved("insert-state")["algorithm.utd_ratio"] == 1.0
    lift, insert = (cells.resolved(group) for group in ("lift-pixels", "insert-pixels"))
    assert (lift["algorithm.encoder"], lift["algorithm.encoder_size"]) == ("keypoints", 256)
    assert (insert["algorithm.encoder"], insert["algorithm.encoder_size"]) == ("keypoints", 256)


def test_the_readme_says_what_the_results_say(tmp_path):
    """Of the repository's own README.md and docs/results.json."""
    rows = list(results.kept(results.ROOT / "docs").values())
    readme = (results.ROOT / "README.md").read_text()
    assert readme == with_tables(readme, rows, pool(rows))


def test_tables_of_a_readme(cell, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(f"# T\n{BEGIN}old\n{END}rest\n")
    results.write(tmp_path / "docs", [cell("lift-pixels", 0, 50), cell("lift-pixels", 1, 45, cycle_steps=16.0)])
    text = (tmp_path / "README.md").read_text()
    assert text.startswith(f"# T\n{BEGIN}On one.\n\n| lift |")
    assert text.endswith(f"|\n{END}rest\n")
    assert "| success alone on unseen starts (95 % interval) | 95 of 100 (88.8% to 97.8%) | not run | 95 % |" in text
    assert "| 14.2 against 15.5 steps, shorter on 1 of 2 seeds | not run | shorter |" in text
    (tmp_path / "README.md").write_text("# T\n")
    with pytest.raises(ValueError, match=r"README\.md lacks"):
        results.write(tmp_path / "docs")


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
