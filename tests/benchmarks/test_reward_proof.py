"""The figures of the reward proof, from what was seen."""

import numpy as np
import pytest

from benchmarks.reward_proof_document import SECTION, ratio_of_medians, section_of, with_section
from benchmarks.reward_proof_training import steps_to_mark, true_evaluations
from benchmarks.reward_proof_world import Steps
from episodes.log import EpisodeLog
from episodes.outcome import Outcome, Purpose
from reward.config import ClassifierReward
from transport import records_pb2 as pb


def test_an_episode_is_judged_as_it_ran_and_as_the_gates_alone_would_have_judged_it():
    steps = Steps("almost", [False] * 6, [False] * 6, [0.1] * 6, [False, False, True, True, True, True])
    assert steps.as_run(10.0).frame is None
    bare = steps.by_gates(ClassifierReward(confirm=3), 10.0)
    assert (bare.frame, bare.right, bare.success, bare.seconds_failing) == (4, False, False, 0.5)
    early = Steps("", [False] * 4, [False, False, False, True], [0.9] * 4)
    found = early.as_run(10.0)
    assert (found.frame, found.success, found.right) == (3, True, False), "the person would have lifted the cube"
    right = Steps("", [False, False, True, True], [False, False, False, True], [0.1, 0.9, 0.9, 0.9]).as_run(10.0)
    assert (right.right, right.seconds_failing) == (True, 0.2)


def test_the_log_says_what_evaluations_were_worth_by_the_true_referee(tmp_path):
    with EpisodeLog(tmp_path / "log", run_id="r", interface_fingerprint="0" * 64, sync="os") as log:
        number = 0

        def add(**body):
            nonlocal number
            number += 1
            log.append([pb.LogEntry(record=pb.Record(sequence=number, **body)).SerializeToString()])

        for index, (purpose, evaluation, true) in enumerate(
            [(Purpose.TRAINING, 0, 0), (Purpose.EVALUATION, 7, 1), (Purpose.EVALUATION, 7, 0), (Purpose.TRAINING, 0, 1)]
            + [(Purpose.EVALUATION, 8, 1)] * 2
            + [(Purpose.EVALUATION, 9, 1)]
        ):
            name = f"{index:032x}"
            add(start=pb.EpisodeStart(episode_id=name, purpose=int(purpose), evaluation_id=evaluation))
            rewards = [pb.Reward(source="env", value=true), pb.Reward(source="classifier:a@b", value=1.0)]
            add(step=pb.Step(episode_id=name, rewards=rewards))
            add(end=pb.EpisodeEnd(episode_id=name, outcome=int(Outcome.SUCCESS), steps=1))
    assert true_evaluations(tmp_path) == [(1, 0.5), (2, 1.0)], "the last one was cut short"


def test_two_evaluations_in_a_row_must_reach_the_mark():
    assert steps_to_mark([(500, 0.9), (1000, 0.8), (1500, 0.92), (2000, 1.0)]) == 2000
    assert steps_to_mark([(500, 1.0)]) is None


def test_the_ratio_of_medians_pairs_seeds_and_knows_runs_that_never_got_there():
    ratio, low, high = ratio_of_medians([1000, 1000, 2000], [1500, 1500, 3000])
    assert (ratio, low, high) == pytest.approx((1.5, 1.5, 1.5))
    ratio, low, high = ratio_of_medians([1000, 1000, 1000], [1000, np.inf, 1000])
    assert (ratio, low, high) == (1.0, 1.0, np.inf)


def test_the_section_takes_the_place_of_the_one_before_and_leaves_the_rest():
    text = "# Results\n\n## Lift\n\nrows\n"
    once = with_section(text, f"{SECTION}\n\nold\n")
    assert once == f"{text}\n{SECTION}\n\nold\n"
    between = once + "\n## Insert\n\nmore\n"
    assert with_section(between, f"{SECTION}\n\nnew") == f"{text}\n## Insert\n\nmore\n\n{SECTION}\n\nnew\n"
    assert section_of(once) == f"{SECTION}\n\nold"
    assert section_of(text) == ""
