"""The rule that fixes the play of the slot: from made-up cells, and one small cell that is run."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import play
from envs.so101_interface import SO101SimConfig


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """A folder of its own, and a function that gives every cell of a play its successes."""
    monkeypatch.setattr(play, "RUNS", tmp_path / "runs")

    def finish(play_mm, operator, cloning, seeds=play.SEEDS, obs="state", machine="a box"):
        for who, successes in ((play.OPERATOR, operator), (play.CLONING, cloning)):
            for seed in seeds:
                cell = play.Cell(who, obs, play_mm, seed)
                cell.folder.mkdir(parents=True, exist_ok=True)
                found = {"successes": successes + seed - 1, "episodes": 100, "cycle_steps": 30.0, "machine": machine}
                (cell.folder / f"{who}.json").write_text(json.dumps(found))

    return finish


def test_the_largest_play_that_is_hard_to_clone_and_easy_for_the_operator(cells):
    for play_mm, operator, cloning in ((8, 99, 80), (6, 99, 60), (4, 94, 50), (3, 95, 55), (2, 99, 10)):
        cells(float(play_mm), operator, cloning)
    rows = play.pooled("state")
    assert [row["qualifies"] for row in rows] == [False, False, False, True, True]
    assert play.chosen_play_mm(rows) == 3.0
    assert rows[3][play.CLONING]["success_rate"] == pytest.approx(0.55)
    assert rows[3][play.CLONING]["of_seeds"] == [0.54, 0.55, 0.56]
    assert play.chosen_play_mm(rows[:3]) is None


def test_a_play_with_a_missing_seed_is_not_judged(cells):
    cells(8.0, 99, 80)
    cells(6.0, 99, 40, seeds=(0, 1))
    assert [row["play_mm"] for row in play.pooled("state")] == [8.0]
    assert play.pooled("pixels") == []


def test_the_document_says_the_rule_and_what_came_of_it(cells, tmp_path):
    cells(8.0, 99, 80)
    cells(6.0, 99, 40)
    found = play.write(tmp_path)
    assert found == json.loads((tmp_path / "play.json").read_text())
    assert found["play_mm"] == {"state": 6.0}
    assert "below 60%" in found["rule"]
    assert "| state | 6 mm | 0.99 (" in play.table(found["rows"])


def test_the_document_names_the_machines_of_the_cells_not_the_one_that_writes_it(cells, tmp_path):
    cells(8.0, 99, 80)
    found = play.write(tmp_path)
    assert play.table(found["rows"]).startswith("On a box.\n\n| observations |")
    cells(6.0, 99, 40, seeds=(0, 1))
    cells(6.0, 99, 40, seeds=(2,), machine="a bigger one")
    rows = play.write(tmp_path)["rows"]
    assert [row["machine"] for row in rows] == ["a box", "a box and a bigger one"]
    text = play.table(rows)
    assert text.startswith("[1] On a box.\n[2] On a box and a bigger one.\n\n|")
    assert "| state | 8 mm [1] | 0.99 (" in text
    assert "CPU cores" not in (tmp_path / "play.json").read_text()


def test_what_another_machine_found_stays(cells, tmp_path, monkeypatch):
    cells(2.0, 99, 40)
    before = play.write(tmp_path)["rows"]
    monkeypatch.setattr(play, "RUNS", tmp_path / "none")
    assert play.write(tmp_path)["rows"] == before
    monkeypatch.setattr(play, "RUNS", tmp_path / "others")
    cells(8.0, 99, 30, obs="pixels")
    assert [(row["obs"], row["play_mm"]) for row in play.write(tmp_path)["rows"]] == [("state", 2.0), ("pixels", 8.0)]


def test_a_cell_records_clones_and_evaluates_once(tmp_path, monkeypatch):
    monkeypatch.setattr(play, "RUNS", tmp_path / "runs")
    cell = play.Cell(play.CLONING, "state", 8.0, 0)
    assert cell.env_config == SO101SimConfig(task="insert", obs="state", play_mm=8.0)
    assert cell.result() is None
    config = replace(play.preset(), clone_updates=2)
    result = play.run(cell, config, starts=1, demonstrations=1)
    assert (result["episodes"], result["play_mm"], result["who"]) == (1, 8.0, "cloning")
    assert result["machine"] == play.machine()
    assert cell.result() == result
    operator = play.run(play.Cell(play.OPERATOR, "state", 8.0, 0), config, starts=1)
    assert operator["successes"] == 1


def test_the_preset_is_narrower_than_the_play():
    config = play.preset()
    assert (config.gamma, config.clone_updates, config.input_noise, config.ema) == (0.98, 1000, 0.05, 0.01)
