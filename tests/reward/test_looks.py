"""Cameras that are covered, or whose light has gone, are noticed while a classifier runs."""

import numpy as np
import pytest

from actor.classifier_rewarding import ClassifierRewarding
from actor.rewarding import GOES_ON
from envs.registry import derive_contract
from envs.so101_interface import SO101SimConfig
from reward.config import ClassifierReward, RewardError
from reward.judge import SuccessJudge
from reward.looks import WINDOW, LookMonitor, looks, ranges
from reward.preprocessing import cameras_of
from reward.storage import load_classifier
from tests.reward.squares import constant_classifier

CONTRACT = derive_contract("so101_sim", SO101SimConfig(obs="pixels", image_width=32, image_height=32))
CAMERAS = cameras_of(CONTRACT)
NAMES = [camera.name for camera in CAMERAS]


def frames(count, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return {name: (rng.integers(40, 200, (count, 32, 32, 3)) * scale).astype(np.uint8) for name in NAMES}


def test_looks_are_mean_and_deviation_of_every_fourth_pixel():
    images = frames(2500)[NAMES[0]]
    every_fourth = images[:, ::4, ::4].reshape(2500, -1).astype(float)
    np.testing.assert_allclose(looks(images), np.stack((every_fourth.mean(1), every_fourth.std(1)), 1), rtol=1e-6)
    low, high = looks(images).min(0), looks(images).max(0)
    np.testing.assert_allclose(ranges({NAMES[0]: images}), [low[0], high[0], low[1], high[1]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda image: image // 4, "brightness"),
        (lambda image: image * 0, "brightness 0 of 255"),
        (lambda image: image * 0 + 120, "contrast 0 of 255"),
        (lambda image: image, ""),
        (lambda image: (image * 0.7).astype(np.uint8), ""),
    ],
)
def test_what_looks_other_than_in_training_is_said_once_it_lasts(change, said):
    monitor = LookMonitor(NAMES, ranges(frames(100)))
    of_now = frames(3 * WINDOW, seed=1)
    for t in range(WINDOW):
        monitor.add({name: value[t] for name, value in of_now.items()})
    assert monitor.changed == ""
    for t in range(WINDOW, 3 * WINDOW):
        seen = {name: value[t] for name, value in of_now.items()}
        monitor.add(seen | {NAMES[1]: change(seen[NAMES[1]])})
    assert (said in monitor.changed) if said else monitor.changed == ""
    assert not said or monitor.changed.startswith(f"camera {NAMES[1].rpartition('.')[2]}: ")


def test_a_judge_watches_its_cameras_and_a_classifier_that_knows_no_looks_says_nothing():
    state = {f.name: np.zeros(f.shape, f.dtype) for f in CONTRACT.stored if not f.is_image}
    black = state | {name: np.zeros((32, 32, 3), np.uint8) for name in NAMES}
    for known, changed in ((ranges(frames(100)), True), ((), False)):
        classifier = load_classifier(constant_classifier(CAMERAS, -5.0, looks=known))
        judge = SuccessJudge(classifier, ClassifierReward(), CONTRACT)
        for step in range(WINDOW):
            judge.judge(black, step)
        assert bool(judge.looks.changed) is changed


def test_looks_of_another_number_of_cameras_are_refused():
    with pytest.raises(RewardError, match=r"calibration.looks must have four numbers for each of 2 camera"):
        load_classifier(constant_classifier(CAMERAS, 0.0, looks=(1.0, 2.0, 3.0, 4.0)))


def test_the_actor_says_once_which_camera_changed_and_shows_it_as_long_as_it_lasts():
    classifier = load_classifier(constant_classifier(CAMERAS, -5.0, looks=ranges(frames(100))))
    said = []
    rewarding = ClassifierRewarding(ClassifierReward(), CONTRACT, classifier, say=said.append)
    rewarding.begin_episode()
    state = {f.name: np.zeros(f.shape, f.dtype) for f in CONTRACT.stored if not f.is_image}
    for seen, shown in ((np.zeros((32, 32, 3), np.uint8), True), (frames(1)[NAMES[0]][0], False)):
        for step in range(2 * WINDOW):
            rewarding.judge(state | dict.fromkeys(NAMES, seen), step, GOES_ON, False, False)
        assert ("CAMERA CHANGED, camera" in rewarding.doing) is shown
    (line,) = [line for line in said if "Is it covered" in line]
    assert "brightness 0 of 255, in training" in line
