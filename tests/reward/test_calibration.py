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


def test_episodes_of_several_actors_lie_between_each_other_and_change_nothing():
    rng = np.random.default_rng(3)
    logits, indices = rng.normal(0, 3, 60), np.tile(np.arange(20), 3)
    positive, episodes = indices > 14, np.repeat(["a", "b", "c"], 20)
    mixed = np.argsort(indices, kind="stable")
    alone = least_of_last(logits, list(episodes), indices, 3)
    assert np.isfinite(alone).sum() == 3 * 18
    np.testing.assert_array_equal(least_of_last(logits[mixed], list(episodes[mixed]), indices[mixed], 3), alone[mixed])
    threshold = choose_threshold(alone, positive, list(episodes), 0.0001)
    assert choose_threshold(alone[mixed], positive[mixed], list(episodes[mixed]), 0.0001) == threshold


def successes_of_one_frame():
    """Ten episodes told apart by far; of half of the successes one frame alone is labelled, as a key does it."""
    episodes, indices, positive = [], [], []
    for number in range(10):
        frames = [*range(8), 12] if number < 5 else [*range(8), *range(10, 16)]
        episodes += [f"e{number}"] * len(frames)
        indices += frames
        positive += [frame > 8 for frame in frames]
    positive = np.array(positive)
    return np.where(positive, 6.0, -6.0), positive, episodes, np.array(indices)


def test_a_success_of_too_few_labelled_frames_says_nothing_of_threshold_or_recall():
    logits, positive, episodes, indices = successes_of_one_frame()
    threshold = choose_threshold(least_of_last(logits, episodes, indices, 3), positive, episodes, 0.0001)
    assert threshold == 0.0, "the middle between the two classes"
    found = confirm_episodes(logits > threshold, positive, episodes, indices, confirm=3, control_hz=10)
    table = confusion(found)
    assert (table["success_too_short"], table["success_missed"]) == (5, 0)
    assert (table["recall"]["count"], table["recall"]["of"]) == (5, 5)


def test_a_gate_that_rules_out_one_success_is_a_miss_and_leaves_the_threshold_where_it_was():
    logits, positive, episodes, indices = successes_of_one_frame()
    shut = positive & np.array([episode == "e7" for episode in episodes])
    confirmable = least_of_last(np.where(shut, -np.inf, logits), episodes, indices, 3)
    assert choose_threshold(confirmable, positive, episodes, 0.0001) == 0.0
    looks = (logits > 0) & ~shut
    assert (
        confusion(confirm_episodes(looks, positive, episodes, indices, confirm=3, control_hz=10))["success_missed"] == 1
    )


def test_success_counts_from_the_first_step_that_may_end_an_episode():
    looks, positive = np.ones(8, bool), np.zeros(8, bool)
    (found,) = confirm_episodes(looks, positive, ["a"] * 8, np.arange(8), confirm=3, control_hz=10, first=4)
    assert found.frame == 4
    (found,) = confirm_episodes(looks, positive, ["a"] * 8, np.arange(8), confirm=6, control_hz=10, first=4)
    assert found.frame == 6, "frame 0 comes before the first step"
