"""summary.json from a log that was really recorded."""

import json

import pytest

from actor.evaluate import Evaluation
from cli.summary import load_summary, read_training, save_summary, summarise, summary_lines
from episodes.log import EpisodeLog
from transport import records_pb2 as pb

ASKED = "seed obs success_rate successes episodes ci_low ci_high intervention_rate train_wall_s first_update_s"
ASKED += " env_steps updates cycle_steps operator_cycle_steps"


@pytest.fixture
def run_folder(tmp_path):
    """30 training episodes of 10 steps, the first 10 driven by a person, and 2 demonstrations of 8 steps."""
    entries = []

    def episode(number, purpose, steps, human):
        name = f"{number:032x}"
        records = [pb.Record(start=pb.EpisodeStart(episode_id=name, purpose=purpose))]
        for index in range(steps):
            step = pb.Step(episode_id=name, index=index, human=human, terminated=index == steps - 1)
            step.rewards.add(source="env", value=float(index == steps - 1))
            records.append(pb.Record(step=step))
        records.append(pb.Record(end=pb.EpisodeEnd(episode_id=name, outcome=pb.OUTCOME_SUCCESS, steps=steps)))
        for record in records:
            record.sequence = len(entries) + 1
            entries.append(pb.LogEntry(spool_id="s", actor="a", record=record).SerializeToString())

    for number in range(2):
        episode(number, pb.PURPOSE_DEMONSTRATION, 8, True)
    for number in range(30):
        episode(100 + number, pb.PURPOSE_TRAINING, 10, number < 10)
    with EpisodeLog(tmp_path / "log", run_id="r", interface_fingerprint="f", sync="os") as log:
        log.append(entries)
    line = {"time_s": 61.5, "env_steps": 300, "updates": 600, "intervention_rate": 0.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return tmp_path


def evaluation(successes, episodes):
    return Evaluation(3, episodes, successes, 17.25 if successes else 0.0, (), (), (), ())


def test_the_log_tells_interventions_and_the_operators_cycle(run_folder):
    record = read_training(run_folder / "log")
    assert (record.env_steps, record.episodes) == (300, 30)
    assert record.intervention_rate_first == 0.5
    assert record.intervention_rate == 0.0
    assert record.operator_cycle_steps == pytest.approx((2 * 8 + 10 * 10) / 12)


def test_summary_has_every_key_that_is_asked_for(run_folder):
    more = {"seed": 1, "obs": "state", "task": "lift", "run_id": "r", "first_update_s": 9.5, "utd_ratio": 2.0}
    summary = summarise(run_folder, evaluation=evaluation(49, 50), reached=True, reason="well", **more)
    assert set(ASKED.split()) <= set(summary)
    assert (summary["success_rate"], summary["train_wall_s"], summary["updates"]) == (0.98, 61.5, 600)
    assert summary["ci_low"] == pytest.approx(0.8950, abs=1e-4)
    save_summary(run_folder, summary)
    assert load_summary(run_folder) == summary
    text = "\n".join(summary_lines(summary, run_folder, "wandb sync X"))
    for part in ("Reached: well", "98% (49 of 50 unseen starts, 95 % interval 89.5% to 99.6%)", "17.2 steps"):
        assert part in text
    assert "50.0% of steps in the first 20 episodes" in text
    assert "wandb sync X" in text


def test_a_policy_that_never_succeeds_has_no_cycle(run_folder):
    more = {"seed": 1, "obs": "state", "task": "lift", "run_id": "r", "first_update_s": None, "utd_ratio": 2.0}
    summary = summarise(run_folder, evaluation=evaluation(0, 50), reached=False, reason="a cap", **more)
    assert summary["cycle_steps"] is None
    assert "cycle          not known" in "\n".join(summary_lines(summary, run_folder, ""))


def test_no_summary_yet(tmp_path):
    assert load_summary(tmp_path) is None
