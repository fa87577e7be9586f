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
def run_folder(record_run):
    """30 training episodes, and what the learner said of them."""
    return record_run(30)


@pytest.fixture
def record_run(tmp_path):
    """Records training episodes of 10 steps, the first 10 driven by a person, and 2 demonstrations of 8 steps."""
    return lambda episodes: record_in(tmp_path, episodes)


def record_in(tmp_path, episodes):
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
    for number in range(episodes):
        episode(100 + number, pb.PURPOSE_TRAINING, 10, number < 10)
    with EpisodeLog(tmp_path / "log", run_id="r", interface_fingerprint="f", sync="os") as log:
        log.append(entries)
    line = {"time_s": 61.5, "env_steps": 300, "updates": 600, "intervention_rate": 0.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return tmp_path


def evaluation(successes, episodes):
    return Evaluation(3, episodes, successes, 17.25 if successes else 0.0, (), (), (), ())


PERSON = Evaluation(0, 50, 50, 21.5, (), (), (), ())
GIVEN = {"seed": 1, "obs": "state", "task": "lift", "run_id": "r", "first_update_s": 9.5, "utd_ratio": 2.0}
GIVEN |= {"person": PERSON, "stopped_by_itself": True, "reason": "well"}


def test_the_log_tells_interventions_and_the_operators_cycle(run_folder):
    record = read_training(run_folder / "log")
    assert (record.env_steps, record.episodes) == (300, 30)
    assert record.human_steps == 10 * 10 + 2 * 8
    assert record.intervention_rate_first == 0.5
    assert record.intervention_rate == 0.0
    assert record.intervention_rate_peak == 0.5
    assert record.demonstration_cycle_steps == pytest.approx((2 * 8 + 10 * 10) / 12)


@pytest.mark.parametrize(("episodes", "first", "peak"), [(19, None, None), (20, 0.5, 0.5), (21, 0.5, 0.5)])
def test_shares_of_20_episodes_are_of_exactly_20(record_run, episodes, first, peak):
    record = read_training(record_run(episodes) / "log")
    assert (record.intervention_rate_first, record.intervention_rate_peak) == (first, peak)
    assert record.intervention_rate == pytest.approx({19: 10 / 19, 20: 0.5, 21: 9 / 20}[episodes])


def test_summary_has_every_key_that_is_asked_for(run_folder):
    summary = summarise(run_folder, evaluation=evaluation(49, 50), **GIVEN)
    assert set(ASKED.split()) <= set(summary)
    assert (summary["success_rate"], summary["train_wall_s"], summary["updates"]) == (0.98, 61.5, 600)
    assert summary["ci_low"] == pytest.approx(0.8950, abs=1e-4)
    save_summary(run_folder, summary)
    assert load_summary(run_folder) == summary
    text = "\n".join(summary_lines(summary, run_folder, "wandb sync X"))
    for part in (
        "Reached: in training, well; on the unseen starts 98%, where 90% is asked",
        "98% (49 of 50 unseen starts, 95 % interval 89.5% to 99.6%)",
        "17.2 steps",
    ):
        assert part in text
    assert "50.0% of steps in the first 20 episodes" in text
    assert "wandb sync X" in text


def test_a_policy_that_never_succeeds_has_no_cycle(run_folder):
    summary = summarise(run_folder, evaluation=evaluation(0, 50), **GIVEN)
    assert summary["cycle_steps"] is None
    assert "cycle          not known" in "\n".join(summary_lines(summary, run_folder, ""))


@pytest.mark.parametrize(
    ("stopped_by_itself", "successes", "reached"), [(True, 45, True), (True, 44, False), (False, 50, False)]
)
def test_reached_asks_for_the_stop_rule_and_the_unseen_starts(run_folder, stopped_by_itself, successes, reached):
    given = GIVEN | {"stopped_by_itself": stopped_by_itself, "reason": "25 of 25 after 900 steps"}
    summary = summarise(run_folder, evaluation=evaluation(successes, 50), **given)
    assert summary["reached"] is reached
    said = f"in training, 25 of 25 after 900 steps; on the unseen starts {successes * 2}%, where 90% is asked"
    assert summary["verdict"] == f"{'Reached' if reached else 'Not reached'}: {said}"


def test_the_persons_cycle_is_of_the_same_starts_and_not_of_the_demonstrations(run_folder):
    summary = summarise(run_folder, evaluation=evaluation(50, 50), **GIVEN)
    assert summary["operator_cycle_steps"] == 21.5
    assert summary["demonstration_cycle_steps"] == pytest.approx(9.67, abs=0.01)
    said = "17.2 steps; the scripted person's on the same starts: 21.5 steps, at 60 % of the arm's top speed"
    assert said in "\n".join(summary_lines(summary, run_folder, ""))


def test_time_and_updates_are_the_learners_own(run_folder):
    training = {"train_wall_s": 70.25, "updates": 612, "best": {"success_rate": 0.96}}
    (run_folder / "training.json").write_text(json.dumps(training))
    summary = summarise(run_folder, evaluation=evaluation(45, 50), **GIVEN)
    assert (summary["train_wall_s"], summary["updates"], summary["first_update_s"]) == (70.25, 612, 9.5)
    assert "in the best evaluation of training 96%" in "\n".join(summary_lines(summary, run_folder, ""))


def test_of_fewer_than_20_episodes_the_interventions_are_those_of_all(record_run):
    folder = record_run(19)
    said = "\n".join(summary_lines(summarise(folder, evaluation=evaluation(45, 50), **GIVEN), folder, ""))
    assert "interventions  52.6% of steps in all episodes, which are fewer than 20\n" in said


def test_no_summary_yet(tmp_path):
    assert load_summary(tmp_path) is None
