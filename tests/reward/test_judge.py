"""The classifier at work: confirmed, gated, and never a success where it is blind."""

import math

import numpy as np
import pytest

from envs.registry import derive_contract
from envs.so101_interface import SO101SimConfig
from reward.calibration import sigmoid
from reward.classifier import Calibration
from reward.config import ClassifierReward, RewardError
from reward.drift import LIMIT, WINDOW, DriftMonitor, distance
from reward.judge import SuccessJudge
from reward.preprocessing import cameras_of
from reward.storage import load_classifier
from tests.reward.squares import constant_classifier

CONTRACT = derive_contract("so101_sim", SO101SimConfig(obs="pixels", image_width=32, image_height=32))
CAMERAS = cameras_of(CONTRACT)
NAN = float("nan")


def observation(**state):
    values = {f.name: np.zeros(f.shape, f.dtype) for f in CONTRACT.stored}
    components = CONTRACT.stored[0].components
    for name, value in state.items():
        values["observation.state"][components.index(name.replace("_", "."))] = value
    return values


def judge(logit=4.0, **settings):
    return SuccessJudge(load_classifier(constant_classifier(CAMERAS, logit)), ClassifierReward(**settings), CONTRACT)


def test_success_is_confirmed_over_frames_in_a_row_and_not_before_the_least_step():
    one = judge(confirm=3, min_step=0)
    one.begin_episode()
    assert [one.judge(observation(), step).success for step in range(4)] == [False, False, True, True]
    one.begin_episode()
    assert not one.judge(observation(), 0).success
    late = judge(confirm=1, min_step=2)
    late.begin_episode()
    assert [late.judge(observation(), step).success for step in range(3)] == [False, False, True]


def test_a_gate_on_the_state_must_hold_as_well():
    gated = judge(confirm=1, min_step=0, gates=("tool.z>0.06", "gripper.pos<0.6"))
    gated.begin_episode()
    assert not gated.judge(observation(), 0).success
    assert gated.judge(observation(tool_z=0.07), 1).success
    assert not gated.judge(observation(tool_z=0.07, gripper_pos=0.9), 2).success
    assert not gated.judge(observation(tool_z=NAN), 3).success
    with pytest.raises(RewardError, match=r"names 'tool.h', which is not observed. Did you mean 'tool.[xyz]'"):
        judge(gates=("tool.h>1",))
    with pytest.raises(RewardError, match=r"conditions like tool.z>0.06. Got: 'tool.z=1'"):
        judge(gates=("tool.z=1",))


def test_a_classifier_brings_the_gates_of_its_training_along():
    stored = constant_classifier(CAMERAS, 4.0, gates=("tool.z>0.06",))
    one = SuccessJudge(load_classifier(stored), ClassifierReward(confirm=1, gates=("gripper.pos<0.6",)), CONTRACT)
    one.begin_episode()
    assert not one.judge(observation(), 3).success
    assert not one.judge(observation(tool_z=0.07, gripper_pos=0.9), 4).success
    assert one.judge(observation(tool_z=0.07), 5).success


def test_a_held_step_a_lost_camera_another_size_and_a_score_that_is_no_number_are_no_success(monkeypatch):
    one = judge(confirm=2, min_step=0)
    one.begin_episode()
    assert not one.judge(observation(), 0).success
    assert not one.judge(observation(), 1, held=True).success
    assert not one.judge(observation(), 2).success, "a held step begins the row anew"
    gone = observation()
    del gone["observation.images.wrist"]
    found = one.judge(gone, 3)
    assert not found.success
    assert math.isnan(found.score)
    assert "needs 'observation.images.wrist'" in one.fault
    small = observation() | {"observation.images.front": np.zeros((16, 16, 3), np.uint8)}
    assert not one.judge(small, 4).success
    classifier = load_classifier(constant_classifier(CAMERAS, 4.0))
    monkeypatch.setattr(classifier, "logits", lambda frames: np.array([NAN]))
    blind = SuccessJudge(classifier, ClassifierReward(confirm=1, min_step=0), CONTRACT)
    assert not blind.judge(observation(), 5).success
    assert blind.fault == "the classifier gave no number"


def test_frames_in_a_row_are_those_the_threshold_was_chosen_for_unless_set():
    stored = load_classifier(constant_classifier(CAMERAS, 4.0, confirm=2))
    for settings, least in (({}, 2), ({"confirm": 1}, 1), ({"confirm": 4}, 4)):
        one = SuccessJudge(stored, ClassifierReward(min_step=0, **settings), CONTRACT)
        one.begin_episode()
        assert [one.judge(observation(), step).success for step in range(4)] == [n >= least for n in range(1, 5)]
    with pytest.raises(RewardError, match=r"reward.confirm must be 0 or more. Got: -1"):
        ClassifierReward(confirm=-1)


def test_a_score_is_of_the_calibrated_logit():
    stored = load_classifier(constant_classifier(CAMERAS, 4.0, temperature=2.0))
    one = SuccessJudge(stored, ClassifierReward(), CONTRACT)
    assert one.judge(observation(), 5).score == pytest.approx(float(sigmoid(np.array(2.0))))


def test_another_threshold_than_the_classifiers_own_counts_where_it_is_set():
    assert judge(logit=1.0).threshold == 0.5
    strict = judge(logit=1.0, confirm=1, min_step=0, threshold=0.9)
    assert sigmoid(np.array(1.0)) < 0.9
    assert not strict.judge(observation(), 5).success


def test_drift_looks_only_where_the_gates_of_training_hold():
    """What they rule out was not learned from: scores there mean nothing, in training as in use."""
    known = {"negative_logits": (-5.0, -4.0), "positive_logits": (4.0, 5.0), "gates": ("tool.z>0.06",)}
    stored = load_classifier(constant_classifier(CAMERAS, 0.0, **known))
    one = SuccessJudge(stored, ClassifierReward(gates=("gripper.pos<0.6",)), CONTRACT)
    for step in range(2 * WINDOW):
        one.judge(observation(tool_z=0.05), step)
    assert one.drift.distance == 0.0
    for step in range(WINDOW):
        one.judge(observation(tool_z=0.07, gripper_pos=0.7), step)
    assert one.drift.drifted, "a gate of the run's own does not hide what was learned"


def test_another_network_that_is_sure_elsewhere_is_no_drift():
    """Held-out frames are scored by the networks of folds: all told apart, each is sure in a place of its own."""
    rng = np.random.default_rng(1)
    quantiles = [tuple(np.sort(rng.normal(mean, 0.1, 101))) for mean in (-5.4, 5.5)]
    known = Calibration(negative_logits=quantiles[0], positive_logits=quantiles[1])
    of_another = np.where(rng.random(300) < 0.3, rng.normal(6.0, 0.1, 300), rng.normal(-6.1, 0.1, 300))
    assert distance(of_another, known) < 0.01
    unsure = np.where(np.arange(300) % 2, of_another, rng.normal(0, 1, 300))
    assert distance(unsure, known) > LIMIT


def test_drift_is_said_when_scores_fall_where_neither_class_had_any():
    rng = np.random.default_rng(0)
    negative, positive = rng.normal(-6, 1, 4000), rng.normal(5, 1, 1000)
    quantiles = [tuple(np.quantile(v, np.linspace(0, 1, 101))) for v in (negative, positive)]
    known = Calibration(negative_logits=quantiles[0], positive_logits=quantiles[1])
    for share in (0.0, 0.3, 1.0):
        mixed = np.concatenate((rng.choice(negative, 300 - int(300 * share)), rng.choice(positive, int(300 * share))))
        assert distance(mixed, known) < 0.15
    assert distance(rng.normal(-1.5, 1, 300), known) > 0.45
    monitor = DriftMonitor(known)
    for value in rng.choice(negative, WINDOW):
        monitor.add(float(value))
    assert not monitor.drifted
    for value in rng.normal(-2, 1, WINDOW):
        monitor.add(float(value))
    assert monitor.drifted
    assert not DriftMonitor(Calibration()).drifted
