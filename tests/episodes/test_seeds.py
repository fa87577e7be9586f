"""Start seeds never coincide between streams, actors or runs."""

from episodes.seeds import SeedStream, start_seed


def test_every_start_is_its_own():
    seeds = {
        start_seed(seed, stream, actor, index)
        for seed in range(3)
        for stream in SeedStream
        for actor in ("a", "b", "")
        for index in range(50)
    }
    assert len(seeds) == 3 * 4 * 3 * 50
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_start_is_the_same_on_every_machine():
    assert start_seed(0, SeedStream.FINAL, "evaluation", 0) == start_seed(0, SeedStream.FINAL, "evaluation", 0)
    assert start_seed(0, SeedStream.TRAINING, "arm", 3) == 7831951152046251017
