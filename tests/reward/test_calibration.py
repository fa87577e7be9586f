"""Temperature, threshold, confirmation and intervals against what is known of them."""

import numpy as np
import pytest

from reward.calibration import (
    choose_threshold,
    confirm_episodes,
    fit_temperature,
    least_of_last,
    poisson_interval,
    sigmoid,
)
from reward.measures import confusion, false_positives


@pytest.mark.parametrize("count", [100, 1000])
def test_frames_that_are_all_told_apart_are_no_surer_than_their_number_allows(count):
    positive = np.arange(2 * count) < count
    logits = np.where(positive, 4.6, -4.6)
    score = sigmoid(logits / fit_temperature(logits, positive))
    assert score[0] == pytest.approx((count + 1) / (count + 2), abs=0.2 / count)


def test_temperature_makes_overconfident_logits_probabilities():
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20000)
    positive = rng.random(20000) < sigmoid(true)
    assert fit_temperature(3.0 * true, positive) == pytest.approx(3.0, rel=0.1)


def test_poisson_interval_is_the_exact_one():
    assert poisson_interval(0, 1.0) == pytest.approx((0.0, 3.6889), abs=1e-3)
    assert poisson_interval(1, 1.0) == pytest.approx((0.0253, 5.5716), abs=1e-3)
    assert poisson_interval(10, 2.0) == pytest.approx((4.7954 / 2, 18.3904 / 2), abs=1e-3)
    assert poisson_interval(0, 0.0) == (0.0, float("inf"))


def test_success_is_confirmed_by_frames_in_a_row_of_one_episode_without_gaps():
    looks = np.array([1, 1, 0, 1, 1, 1, 1, 1, 1, 1], bool)
    positive = np.array([0, 0, 0, 0, 0, 1, 1, 0, 0, 0], bool)
    episodes = ["a"] * 7 + ["b"] * 3
    indices = np.array([0, 1, 2, 3, 4, 5, 6, 0, 1, 3])
    a, b = confirm_episodes(looks, positive, episodes, indices, confirm=3, control_hz=10)
    assert (a.frame, a.right, a.success) == (5, True, True)
    assert a.seconds_failing == pytest.approx(0.5)
    assert (b.frame, b.success) == (None, False)


@pytest.mark.parametrize("confirm", [1, 2, 4])
def test_the_threshold_is_chosen_by_the_rule_that_runs(confirm):
    rng = np.random.default_rng(confirm)
    episodes = [f"e{i // 12}" for i in range(240)]
    indices = np.tile(np.arange(12), 20)
    positive = (indices >= 7) & (np.arange(240) < 120)
    logits = rng.normal(0, 1.5, 240) + 3.0 * positive
    confirmable = least_of_last(logits, episodes, indices, confirm)
    for threshold in (-1.0, 0.5, 2.0):
        found = confirm_episodes(logits >= threshold, positive, episodes, indices, confirm=confirm, control_hz=10)
        anywhere = {e for e, value in zip(episodes, confirmable, strict=True) if value >= threshold}
        assert {c.episode for c in found if c.frame is not None} == anywhere
    threshold = choose_threshold(confirmable, positive, episodes, 0.01)
    assert (confirmable[~positive] >= threshold).mean() <= 0.01


def test_figures_of_episodes_count_every_kind_of_mistake():
    looks = np.array([1, 0, 0, 0, 1, 0, 1, 1], bool)
    positive = np.array([1, 0, 1, 0, 0, 1, 0, 1], bool)
    episodes = ["hit", "pass", "miss", "miss", "false", "early", "early", "early"]
    episodes[5:] = ["early2", "early", "early"]
    found = confirm_episodes(looks, positive, episodes, np.arange(8), confirm=1, control_hz=1)
    table = confusion(found)
    names = ("success_confirmed", "success_confirmed_early", "success_missed", "failure_confirmed", "failure_passed")
    assert [table[name] for name in names] == [1, 1, 2, 1, 1]
    assert table["precision"]["value"] == pytest.approx(1 / 3)
    assert false_positives(found)["events"] == 2


def test_a_probability_is_never_certain():
    low, high = sigmoid(np.array([-1e9, 1e9]))
    assert 0.0 < low < high < 1.0
