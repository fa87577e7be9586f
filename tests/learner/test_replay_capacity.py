"""How much a replay buffer holds, and which episodes leave it first."""

import pytest

from episodes.contract import Contract, Feature, Interface, View
from episodes.outcome import Outcome, Purpose
from learner.replay import ReplayBuffer, ReplayConfig
from learner.replay_rows import row_bytes
from tests.learner.replay_entries import IMAGE, STATE, amend, buffer, contract, episode, start, step, windows


def test_oldest_whole_episode_leaves_first():
    replay = buffer(20)
    for i in range(6):
        episode(replay, f"{i}", 4, first=10 * i)
    assert sorted({action // 10 for action in windows(replay)}) == [2, 3, 4, 5]
    assert replay.rows == 20
    assert replay.counts["evicted_episodes"] == 2


def test_protected_episodes_are_not_evicted_by_online_ones():
    replay = buffer(20, protected_share=0.5)
    episode(replay, "demo", 4, purpose=Purpose.DEMONSTRATION, first=1000)
    episode(replay, "taken over", 4, human=(3,), first=2000)
    for i in range(30):
        episode(replay, f"{i}", 4, first=10 * i)
    assert sorted(windows(replay, replay.demonstration_rows)) == [1000, 1001, 1002, 1003, 2003]
    assert {2000.0, 2001.0, 2002.0} < set(windows(replay))
    episode(replay, "taken over again", 4, human=(0,), first=3000)
    assert sorted(windows(replay, replay.demonstration_rows)) == [2003, 3000]


def test_online_episodes_use_what_is_not_protected_yet():
    replay = buffer(20, protected_share=0.5)
    for i in range(4):
        episode(replay, f"{i}", 4, first=10 * i)
    assert replay.online_size == 16
    episode(replay, "demo", 9, purpose=Purpose.DEMONSTRATION, first=100)
    assert replay.online_size == 8
    assert replay.demonstration_size == 9


@pytest.mark.parametrize("stack", [1, 2])
def test_running_episode_that_alone_overflows_loses_its_older_half_and_goes_on(stack):
    replay = buffer(10, of=contract(stack=stack))
    start(replay, "endless")
    for i in range(1000):
        step(replay, "endless", i)
        assert replay.rows <= 10
    actions = sorted(replay.windows(replay.online_rows).action[:, 0].tolist())
    assert actions
    assert actions == [float(i) for i in range(1000 - len(actions), 1000)]
    assert replay.counts["overflowed_episodes"] > 100
    amend(replay, "endless", Outcome.SUCCESS, at=3)
    assert replay.online_size == 0


def test_many_running_episodes_fit_in_few_rows():
    replay = buffer(6, protected_share=0.4)
    for name in "abcdefgh":
        start(replay, name)
    for i in range(20):
        for name in "abcdefgh":
            step(replay, name, i, human=i == 3)
    assert replay.rows <= 6


def test_row_of_two_cameras_is_within_its_bytes():
    cameras = tuple(Feature(f"observation.images.{name}", "uint8", (128, 128, 3)) for name in ("front", "wrist"))
    of = Contract(
        Interface("test", (Feature(STATE, "float32", (18,)), *cameras), Feature("action", "float32", (4,))), View(())
    )
    assert 98_304 + 18 * 4 < row_bytes(of) <= 99_500


def test_capacity_is_given_in_bytes_and_taken_only_when_used():
    replay = ReplayBuffer(contract(control_hz=10.0), capacity_bytes=2 * 10**9)
    assert replay.capacity_rows == 2 * 10**9 // row_bytes(contract())
    assert replay.capacity_hours == pytest.approx(replay.capacity_rows / 36_000)
    episode(replay, "a", 3)
    assert len(replay.sample(8)) == 8


def test_refuses_more_memory_than_there_is():
    camera = Feature(IMAGE, "uint8", (480, 640, 3))
    of = Contract(Interface("test", (camera,), Feature("action", "float32", (1,))), View(()))
    with pytest.raises(ValueError, match=r"no 1000000\.0 GB for replay\. Lower replay\.capacity_gb"):
        ReplayBuffer(of, capacity_bytes=10**15)


def test_default_capacity_is_a_quarter_of_free_memory():
    assert ReplayConfig(capacity_gb=0.5).capacity_bytes() == 500_000_000
    assert 0 < ReplayConfig().capacity_bytes() < 2**50


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"rows": 1}, r"at least 2 rows of \d+ bytes. Got: \d+ bytes; raise replay.capacity_gb"),
        ({"rows": 5}, "replay.protected_share must leave 2 rows or more on either side. Got: 0.3 of 5 rows"),
        ({"n_step": 0}, "n_step must be at least 1. Got: 0"),
        ({"gamma": 1.5}, r"gamma must be in \[0, 1\]. Got: 1.5"),
    ],
)
def test_refuses_settings_it_cannot_work_with(settings, text):
    with pytest.raises(ValueError, match=text):
        buffer(**settings)
