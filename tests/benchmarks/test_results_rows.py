"""Rows of docs/results.json: which are current, which stay, and which are taken from another file."""

import json

import pytest

from benchmarks import cells, results, results_rows


@pytest.fixture(autouse=True)
def without_a_picture(monkeypatch):
    monkeypatch.setattr(results, "draw", lambda rows, path: None)


def rerun_with(monkeypatch, **changed):
    """From now on every group has these settings, besides those it has."""
    before = cells.resolved
    for module in (results, results_rows):
        monkeypatch.setattr(module, "resolved", lambda group: before(group) | changed)


def test_rows_of_other_settings_stay_in_the_file_and_in_no_table(cell, tmp_path, monkeypatch, capsys):
    old = [cell("lift-state", 0, 50), cell("lift-state", 1, 49)]
    results.write(tmp_path, old)
    assert capsys.readouterr().out == ""
    new = cell("lift-pixels", 0, 40)
    new["settings"] |= {"algorithm.gamma": 0.5}
    rerun_with(monkeypatch, **{"algorithm.gamma": 0.5})
    results.write(tmp_path, [new])
    said = capsys.readouterr().out
    assert said.endswith("lift-state seeds 0, 1 (algorithm.gamma 0.97 then, 0.5 now)\n")
    assert said.count("\n") == 1
    found = json.loads((tmp_path / "results.json").read_text())
    assert [(row["group"], row.get("outdated")) for row in found["runs"]] == [
        ("lift-pixels", None),
        ("lift-state", True),
        ("lift-state", True),
    ]
    assert list(found["pooled"]) == ["lift-pixels"]
    assert list(results.kept(tmp_path)) == [results.Cell("lift-pixels", 0)]
    text = (tmp_path / "results.md").read_text()
    assert "| lift-state |" not in text
    assert "\n- lift-state seeds 0, 1 (algorithm.gamma 0.97 then" in text.partition("Outdated")[2]
    results.write(tmp_path)
    assert capsys.readouterr().out == ""  # it was said
    monkeypatch.undo()
    results.write(tmp_path)
    assert list(results.kept(tmp_path).values()) == old  # they were not lost
    assert "lift-pixels seeds 0 (algorithm.gamma 0.5 then, 0.95 now)" in capsys.readouterr().out


def test_a_row_keeps_the_settings_it_ran_with(cell, tmp_path):
    row = cell("lift-state", 0, 50)
    del row["settings"]["algorithm.gamma"]  # as before this setting came
    results.write(tmp_path, [row, cell("lift-state", 1, 50), cell("lift-state", 2, 50)])
    results.write(tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())
    assert len(found["settings"]) == 2
    made = [found["settings"][row["settings"]] for row in found["runs"]]
    assert ["algorithm.gamma" in settings for settings in made] == [False, True, True]
    assert len(results.kept(tmp_path)) == 3


def test_a_setting_that_decides_nothing_outdates_no_row(cell, tmp_path, capsys):
    rows = [cell("lift-state", 0, 50), cell("cloning-alone", 0, 40)]
    rows[0]["settings"] |= {"env.render_width": 1, "evaluation.patience_s": 1.0, "learner.console": True}
    rows[1]["settings"] |= {"algorithm.utd_ratio": 9.0}  # nothing is updated there
    results.write(tmp_path, rows)
    assert len(results.kept(tmp_path)) == 2
    rows[0]["settings"] |= {"algorithm.utd_ratio": 9.0}
    results.write(tmp_path, rows)  # no longer like its row, so it does not take that one's place
    assert len(results.kept(tmp_path)) == 2
    assert "lift-state seeds 0 (algorithm.utd_ratio 9.0 then, 2.0 now)" in capsys.readouterr().out


def test_a_row_takes_the_place_of_its_cells_earlier_one(cell, tmp_path):
    results.write(tmp_path, [cell("lift-state", 0, 50)])
    results.write(tmp_path, [cell("lift-state", 0, 49)])
    assert [row["successes"] for row in json.loads((tmp_path / "results.json").read_text())["runs"]] == [49]


def by_group(path):
    """Writes a results.json as earlier versions did: settings by group."""
    found = json.loads(path.read_text())
    found["settings"] = {row["group"]: found["settings"][row.pop("settings")] for row in found["runs"]}
    path.write_text(json.dumps(found))


@pytest.mark.parametrize("form", [by_group, lambda path: None], ids=["by group", "by row"])
def test_rows_of_another_file_are_taken_where_they_are_missing_or_newer(cell, tmp_path, monkeypatch, capsys, form):
    here, there = tmp_path / "here", tmp_path / "there"
    mine = [cell("lift-state", seed, 50) for seed in range(4)]
    theirs = [cell("lift-state", 0, 50), *(cell("lift-state", seed, 48) for seed in (1, 2, 3, 4))]
    theirs[1]["date"], theirs[2]["date"] = "2026-01-03", "2026-01-01"
    for folder, rows in ((here, mine), (there, theirs)):
        folder.mkdir()
        results.write(folder, rows)
    form(there / "results.json")
    monkeypatch.setattr(results, "committed", lambda commit, places: 0)
    results.take(here, there / "results.json")
    assert [row["successes"] for row in results.kept(here).values()] == [50, 48, 50, 50, 48]
    said = capsys.readouterr().out
    assert [line[:25] for line in said.splitlines()] == [
        "taken: lift-state seed 1 ",
        "taken: lift-state seed 4 ",
        "left, as not known to be ",
        "left, as not known to be ",
    ]
    assert all(results_rows.differing(row["settings"], cells.resolved("lift-state")) == [] for row in theirs)
    results.take(here, there / "results.json")
    assert "nothing to take" in capsys.readouterr().out
    (tmp_path / "results.json").write_text('{"runs": []}')
    with pytest.raises(ValueError, match="does not say with which settings"):
        results.take(here, tmp_path / "results.json")


def test_of_two_rows_of_a_day_the_later_commit_is_newer(cell, tmp_path, monkeypatch):
    results.write(tmp_path, [cell("lift-state", 0, 50)])
    (tmp_path / "other").mkdir()
    results.write(tmp_path / "other", [cell("lift-state", 0, 48) | {"commit": "1234567"}])
    monkeypatch.setattr(results, "committed", lambda commit, places: {"abcdef0": 5, "1234567": 6}[commit])
    results.take(tmp_path, tmp_path / "other" / "results.json")
    assert [row["successes"] for row in results.kept(tmp_path).values()] == [48]
