import numpy as np
import torch

from learner.algorithms.feature_cache import FeatureCache, Rows

NAME = "observation.images.front"


class Encoder:
    """Doubles what it sees, and notes how many images it was given."""

    def __init__(self):
        self.seen = []

    def __call__(self, observation):
        self.seen.append(len(observation[NAME]))
        return 2.0 * observation[NAME].float().flatten(1)


def at(rows, generation=1):
    return Rows(np.array(rows, np.int32), np.full(len(rows), generation, np.uint32))


def images(*values):
    return {NAME: torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1)}


def values(features):
    return features.flatten().tolist()


def test_an_observation_is_encoded_once_for_each_copy():
    cache, encode = FeatureCache(2, torch.device("cpu")), Encoder()
    assert values(cache.features(at([3, 7]), 0, images(1, 2), encode)) == [2, 4]
    assert values(cache.features(at([7, 3, 9]), 0, images(50, 51, 5), encode)) == [4, 2, 10]
    assert values(cache.features(at([3]), 1, images(6), encode)) == [12]
    assert values(cache.features(at([3]), 2, images(99), encode)) == [2], "copies are counted modulo their number"
    assert encode.seen == [2, 1, 1]


def test_an_observation_drawn_twice_is_encoded_once():
    cache, encode = FeatureCache(1, torch.device("cpu")), Encoder()
    assert values(cache.features(at([4, 4, 5]), 0, images(1, 2, 3), encode)) == [2, 2, 6]
    assert encode.seen == [2]


def test_a_row_that_was_written_again_is_another_observation():
    cache, encode = FeatureCache(1, torch.device("cpu")), Encoder()
    cache.features(at([4]), 0, images(1), encode)
    assert values(cache.features(at([4], generation=2), 0, images(9), encode)) == [18]


def test_clearing_forgets_everything():
    cache, encode = FeatureCache(1, torch.device("cpu")), Encoder()
    cache.features(at([4]), 0, images(1), encode)
    cache.clear()
    assert values(cache.features(at([4]), 0, images(3), encode)) == [6]


def test_it_grows_and_keeps_what_it_had():
    cache, encode = FeatureCache(4, torch.device("cpu")), Encoder()
    cache.features(at([0, 1000]), 3, images(1, 2), encode)
    cache.features(at([100_000]), 3, images(3), encode)
    assert values(cache.features(at([0, 1000, 100_000]), 3, images(9, 9, 9), encode)) == [2, 4, 6]
    assert encode.seen == [2, 1]
