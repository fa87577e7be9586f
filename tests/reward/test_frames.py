"""The split is by episode and cannot leak; its errors say what is missing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward.config import RewardError
from reward.fitting import FitConfig, balanced_rows
from reward.frames import LabelledFrames, folds, joined, thinned
from tests.reward.squares import CAMERAS, square_frames


def labelled(labels_by_episode):
    names = [f"e{i}" for i, labels in enumerate(labels_by_episode) for _ in labels]
    labels = [label for labels in labels_by_episode for label in labels]
    images = {c.name: np.zeros((len(labels), c.height, c.width, 3), np.uint8) for c in CAMERAS}
    return LabelledFrames(CAMERAS, images, tuple(labels), tuple(names), np.arange(len(labels)))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["success", "failure", "air"]), min_size=1, max_size=6), min_size=4, max_size=12),
    st.integers(2, 5),
    st.integers(0, 100),
)
def test_no_episode_is_on_both_sides_of_a_split(episodes, count, seed):
    frames = labelled([["success"], ["failure"], *episodes, ["success", "failure"]])
    groups = folds(frames, count, np.random.default_rng(seed))
    assert np.sum(groups, axis=0).tolist() == [1] * len(frames)
    for group in groups:
        inside = {e for e, row in zip(frames.episodes, group, strict=True) if row}
        outside = {e for e, row in zip(frames.episodes, group, strict=True) if not row}
        assert not inside & outside
        assert 0 < frames.positive[group].sum() < group.sum()


def test_a_class_in_one_episode_alone_cannot_be_split():
    with pytest.raises(RewardError, match=r"frames of success must come from at least 2 episodes.* Got: 1"):
        folds(labelled([["success"] * 9, ["failure"] * 9, ["failure"]]), 3, np.random.default_rng(0))


def test_a_batch_is_half_success_and_has_its_share_of_hard_negatives():
    frames = labelled([["success"] * 3 + ["failure"] * 80, ["air"] * 5])
    rows = balanced_rows(frames, FitConfig(batch_size=40), np.random.default_rng(0))
    drawn = [frames.labels[row] for row in rows]
    assert (drawn.count("success"), drawn.count("air"), drawn.count("failure")) == (20, 10, 10)


def test_thinning_keeps_hard_negatives_first():
    frames = labelled([["success"] * 30, ["failure"] * 50, ["almost"] * 8])
    frames = thinned(frames, np.arange(len(frames)), 20, np.random.default_rng(0))
    assert [frames.labels.count(name) for name in ("success", "failure", "almost")] == [20, 12, 8]


def test_sources_of_other_cameras_are_not_joined():
    one, other = square_frames(2, 10), square_frames(2, 10)
    other = LabelledFrames(CAMERAS[:1], other.images, other.labels, other.episodes, other.indices)
    with pytest.raises(RewardError, match="the data differ in their cameras"):
        joined([one, other])
    with pytest.raises(RewardError, match="no labelled frame"):
        joined([])
