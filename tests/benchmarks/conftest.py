"""Cells of docs/results.* with made-up summaries."""

import json
import sys
from pathlib import Path

import pytest

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
        summary |= {
            "run_id": f"{group} {seed} {successes}",
            "train_wall_s": 61.0,
            "first_update_s": 9.0,
            "human_steps": 321,
            "verdict": "made up",
            **more,
        }
        made = results.Cell(group, seed)
        made.folder.mkdir(parents=True, exist_ok=True)
        origin = {"date": "2026-01-02", "commit": "abcdef0", "machine": "one; torch 2", "load": 1.5}
        curve = [{"env_steps": 100 * i, "updates": i, "eval_success_rate": i / 2} for i in range(3)]
        for name, content in (
            ("summary.json", json.dumps(summary)),
            (results.SETTINGS, json.dumps(cells.resolved(group))),
            (results.ORIGIN, json.dumps(origin)),
            ("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in curve)),
        ):
            (made.folder / name).write_text(content)
        return results.row_of(made)

    return finish
