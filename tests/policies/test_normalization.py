import numpy as np
import pytest
import torch

from policies.normalization import Normalizer, stacked_statistics


def test_normalises_floors_and_clips():
    normalizer = Normalizer(3, clip=5.0)
    normalizer.freeze(np.array([1.0, 2.0, 0.0]), np.array([2.0, 0.0, 1.0]), floor=0.1)
    x = torch.tensor([[3.0, 2.05, 100.0]])
    torch.testing.assert_close(normalizer(x), torch.tensor([[1.0, 0.5, 5.0]]))


def test_is_the_identity_within_the_clip_until_set():
    torch.testing.assert_close(Normalizer(2, clip=5.0)(torch.tensor([[3.0, -7.0]])), torch.tensor([[3.0, -5.0]]))


def test_statistics_are_set_once():
    normalizer = Normalizer(1, clip=5.0)
    normalizer.freeze(np.zeros(1), np.ones(1), floor=0.1)
    with pytest.raises(ValueError, match="statistics are frozen"):
        normalizer.freeze(np.zeros(1), np.ones(1), floor=0.1)


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (np.zeros(2), np.ones(3), r"mean must have shape \(3,\). Got: \(2,\)"),
        (np.zeros(3), np.array([1.0, np.nan, 1.0]), "std must be finite"),
    ],
)
def test_bad_statistics_are_refused_and_leave_it_unset(mean, std, text):
    normalizer = Normalizer(3, clip=5.0)
    with pytest.raises(ValueError, match=text):
        normalizer.freeze(mean, std, floor=0.1)
    assert not normalizer.frozen


def test_statistics_repeat_for_every_stacked_frame():
    statistics = {"a": (np.array([1.0, 2.0]), np.array([3.0, 4.0])), "b": (np.array([5.0]), np.array([6.0]))}
    mean, std = stacked_statistics(statistics, ("b", "a"), (1, 2))
    np.testing.assert_array_equal(mean, [5, 1, 2, 1, 2])
    np.testing.assert_array_equal(std, [6, 3, 4, 3, 4])


def test_an_input_without_statistics_is_named():
    with pytest.raises(ValueError, match=r"no statistics of input 'b'. There are: \['a'\]"):
        stacked_statistics({"a": (np.zeros(1), np.ones(1))}, ("b",), (1,))
