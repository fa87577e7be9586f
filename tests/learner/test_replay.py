import json

import numpy as np
import pytest

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from episodes.outcome import Outcome, Purpose
from learner.replay import EmptyReplayError, ReplayBuffer, ReplayConfig
from learner.replay_rows import row_bytes
from transport import records_pb2 as pb

STATE, IMAGE = "observation.state", "observation.images.front"
GAMMA = 0.5


def contract(*, stack=1, image=False, **interface):
    observations = [Feature(STATE, "float32", (1,))] + [Feature(IMAGE, "uint8", (2, 3, 3))] * image
    views = tuple(FeatureView(f.name, stack=stack) for f in observations)
    return Contract(
        Interface("test", tuple(observations), Feature("action", "float32", (1,)), **interface), View(views)
    )


def buffer(rows=100, *, of=None, **settings):
    of = of or contract()
    return ReplayBuffer(of, capacity_bytes=rows * row_bytes(of), **{"n_step": 3, "gamma": GAMMA, "seed": 0} | settings)


def observation(value):
    return [np.float32(value).tobytes()]


def apply(replay, **body):
    replay.apply(pb.LogEntry(record=pb.Record(**body)))


def start(replay, name, purpose=Purpose.TRAINING, first=0):
    apply(replay, start=pb.EpisodeStart(episode_id=name, purpose=purpose, observation=observation(first)))


def step(replay, name, index, *, first=0, reward=0.0, observed=None, **fields):
    """Step ``index``: its action is ``first + index`` and the observation after it one more, unless said otherwise."""
    after = [] if fields.get("interrupted") else observed or observation(first + index + 1)
    rewards = [pb.Reward(source="env", value=reward)]
    fields = {"proposed": [-1.0], "chosen": [first + index], **fields}
    apply(replay, step=pb.Step(episode_id=name, index=index, observation=after, rewards=rewards, **fields))


def end(replay, name, outcome=Outcome.TIMEOUT, author="env"):
    apply(replay, end=pb.EpisodeEnd(episode_id=name, outcome=outcome, author=author))


def amend(replay, name, outcome, at=0):
    apply(replay, amendment=pb.Amendment(episode_id=name, outcome=outcome, step=at))


def episode(replay, name, length, *, purpose=Purpose.TRAINING, outcome=Outcome.TIMEOUT, first=0, human=(), held=()):
    start(replay, name, purpose, first)
    success = outcome is Outcome.SUCCESS
    for i in range(length):
        last = i == length - 1
        step(
            replay,
            name,
            i,
            first=first,
            reward=float(success and last),
            terminated=success and last,
            truncated=not success and last,
            human=i in human,
            held=int(i in held),
        )
    end(replay, name, outcome)


def windows(replay, rows=None):
    """{action: (k, reward, discount, next state)} of every window of the online view."""
    batch = replay.windows(replay.online_rows if rows is None else rows)
    assert batch.observation[STATE][:, 0].tolist() == batch.action[:, 0].tolist()
    values = (batch.k, batch.reward, batch.discount, batch.next_observation[STATE][:, 0])
    found = {float(a): row for a, *row in zip(batch.action[:, 0], *(v.tolist() for v in values), strict=True)}
    assert len(found) == len(batch)
    return found


def test_time_out_bootstraps_from_its_own_final_observation():
    replay = buffer()
    episode(replay, "a", 4, first=0)
    episode(replay, "b", 4, first=100)
    assert windows(replay) == {
        base + i: [k, 0.0, GAMMA**k, base + i + k] for base in (0.0, 100.0) for i, k in ((0, 3), (1, 3), (2, 2), (3, 1))
    }


def test_termination_does_not_bootstrap_and_the_last_starts_are_there():
    replay = buffer()
    episode(replay, "a", 4, outcome=Outcome.SUCCESS)
    assert windows(replay) == {
        0.0: [3, 0.0, GAMMA**3, 3.0],
        1.0: [3, GAMMA**2, 0.0, 4.0],
        2.0: [2, GAMMA, 0.0, 4.0],
        3.0: [1, 1.0, 0.0, 4.0],
    }


def test_step_of_a_running_episode_is_there_with_its_own_next_observation():
    replay = buffer()
    start(replay, "a")
    assert replay.online_size == 0
    step(replay, "a", 0)
    assert windows(replay) == {0.0: [1, 0.0, GAMMA, 1.0]}
    step(replay, "a", 1)
    assert windows(replay) == {0.0: [2, 0.0, GAMMA**2, 2.0], 1.0: [1, 0.0, GAMMA, 2.0]}


@pytest.mark.parametrize("cut", [True, False])
def test_window_ends_where_who_acts_changes(cut):
    """The last step of a takeover is followed by its own next observation, never by the next takeover."""
    replay = buffer(cut_at_takeover=cut)
    episode(replay, "a", 6, human=(2, 3))
    ks = {action: k for action, (k, *_) in windows(replay).items()}
    assert ks == ({0: 2, 1: 1, 2: 2, 3: 1, 4: 2, 5: 1} if cut else {0: 3, 1: 3, 2: 3, 3: 3, 4: 2, 5: 1})
    demonstrations = windows(replay, replay.demonstration_rows)
    assert sorted(demonstrations) == [2.0, 3.0]
    assert demonstrations[3.0] == ([1, 0.0, GAMMA, 4.0] if cut else [3, 0.0, GAMMA**3, 6.0])


@pytest.mark.parametrize("cut", [True, False])
def test_last_step_of_a_takeover_is_followed_by_its_own_next_observation(cut):
    """In the demonstration view too, where the next row that holds a human step is that of another takeover."""
    replay = buffer(cut_at_takeover=cut, n_step=1)
    episode(replay, "a", 8, human=(1, 2, 6))
    episode(replay, "b", 4, human=(0,), first=100)
    found = windows(replay, replay.demonstration_rows)
    assert {action: following for action, (_, _, _, following) in found.items()} == {1: 2, 2: 3, 6: 7, 100: 101}


def test_held_step_is_never_drawn_and_windows_end_before_it():
    replay = buffer()
    episode(replay, "a", 5, held=(2,))
    assert {a: (k, following) for a, (k, _, _, following) in windows(replay).items()} == {
        0: (2, 2.0),
        1: (1, 2.0),
        3: (2, 5.0),
        4: (1, 5.0),
    }
    assert replay.counts["held_steps"] == 1


def test_interrupted_step_is_never_drawn():
    replay = buffer()
    start(replay, "a")
    step(replay, "a", 0)
    step(replay, "a", 1, interrupted=True)
    end(replay, "a", Outcome.CUT, "actor")
    assert windows(replay) == {0.0: [1, 0.0, GAMMA, 1.0]}
    assert replay.rows == 2
    assert replay.counts["interrupted_steps"] == 1


@pytest.mark.parametrize(("stack", "left"), [(1, [0, 3, 4, 5]), (2, [0, 4, 5]), (3, [0, 5])])
def test_no_observation_that_is_not_finite_is_ever_drawn(stack, left):
    replay = buffer(of=contract(stack=stack))
    start(replay, "a")
    for i in range(6):
        step(replay, "a", i, observed=observation(np.nan) if i == 1 else None)
    batch = replay.windows(replay.online_rows)
    assert sorted(batch.action[:, 0].tolist()) == left
    assert np.isfinite(batch.observation[STATE]).all()
    assert np.isfinite(batch.next_observation[STATE]).all()


def test_action_or_reward_that_is_not_finite_is_never_drawn():
    replay = buffer()
    start(replay, "a")
    step(replay, "a", 0, chosen=[np.nan])
    step(replay, "a", 1, reward=np.inf)
    step(replay, "a", 2)
    assert list(windows(replay)) == [2.0]


def test_proposal_that_was_not_made_is_nan():
    replay = buffer()
    start(replay, "a")
    step(replay, "a", 0, proposed=[])
    assert np.isnan(replay.sample(1).proposed).all()


@pytest.mark.parametrize("ended", [True, False])
def test_amended_success_terminates_at_the_named_step(ended):
    replay = buffer()
    start(replay, "a")
    for i in range(5):
        step(replay, "a", i)
    if ended:
        end(replay, "a")
    amend(replay, "a", Outcome.SUCCESS, at=2)
    step(replay, "a", 5)
    assert windows(replay) == {0.0: [3, 0.25, 0.0, 3.0], 1.0: [2, 0.5, 0.0, 3.0], 2.0: [1, 1.0, 0.0, 3.0]}


def test_amended_failure_has_reward_0_and_bootstraps():
    replay = buffer()
    episode(replay, "a", 2, outcome=Outcome.SUCCESS)
    amend(replay, "a", Outcome.FAILURE)
    assert windows(replay) == {0.0: [2, 0.0, GAMMA**2, 2.0], 1.0: [1, 0.0, GAMMA, 2.0]}


def test_last_word_wins_and_is_said_of_what_was_recorded():
    replay = buffer()
    episode(replay, "a", 4, outcome=Outcome.SUCCESS)
    recorded = windows(replay)
    for outcome, at, left in (
        (Outcome.DISCARDED, 0, []),
        (Outcome.SUCCESS, 1, [0, 1]),
        (Outcome.FAILURE, 0, [0, 1, 2, 3]),
        (Outcome.DISCARDED, 0, []),
        (Outcome.SUCCESS, 3, [0, 1, 2, 3]),
    ):
        amend(replay, "a", outcome, at)
        assert sorted(windows(replay)) == left
    assert windows(replay) == recorded


def test_discarded_at_its_end_is_never_drawn():
    replay = buffer()
    episode(replay, "a", 3, human=(1,), outcome=Outcome.DISCARDED)
    assert replay.online_size == replay.demonstration_size == 0


def test_person_ends_an_episode():
    replay = buffer()
    for name, first, outcome in (("a", 0, Outcome.SUCCESS), ("b", 100, Outcome.FAILURE)):
        start(replay, name, first=first)
        step(replay, name, 0, first=first)
        end(replay, name, outcome, "person")
    assert windows(replay) == {0.0: [1, 1.0, 0.0, 1.0], 100.0: [1, 0.0, GAMMA, 101.0]}


def test_amendment_of_an_unknown_or_evicted_episode_is_counted_and_harmless():
    replay = buffer(12)
    amend(replay, "never", Outcome.SUCCESS)
    for i in range(5):
        episode(replay, f"{i}", 4, first=10 * i)
    before = windows(replay)
    amend(replay, "0", Outcome.DISCARDED)
    assert windows(replay) == before
    assert replay.counts["unknown_amendments"] == 2


def test_entries_out_of_place_are_counted_and_harmless():
    replay = buffer()
    step(replay, "never", 0)
    end(replay, "never")
    start(replay, "a")
    step(replay, "a", 0)
    step(replay, "a", 0)
    step(replay, "a", 2)
    start(replay, "a")
    end(replay, "a")
    step(replay, "a", 1)
    end(replay, "a")
    assert replay.counts["misplaced_entries"] == 7
    assert windows(replay) == {0.0: [1, 0.0, GAMMA, 1.0]}


def test_evaluation_is_never_drawn():
    replay = buffer()
    episode(replay, "a", 5, purpose=Purpose.EVALUATION)
    assert replay.rows == 0
    assert replay.counts["misplaced_entries"] == 0
    with pytest.raises(EmptyReplayError, match=r"no step to draw a batch from\. It holds 0 observations"):
        replay.sample(4)


def test_demonstrations_are_in_the_demonstration_view_alone():
    replay = buffer()
    episode(replay, "a", 3, purpose=Purpose.DEMONSTRATION)
    assert replay.online_size == 0
    assert replay.demonstration_size == 3
    assert sorted(windows(replay, replay.demonstration_rows)) == [0, 1, 2]


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


def test_every_step_is_drawn_equally_often():
    """However short its episode, and the last n-1 of it too.

    Chi-square over 84 steps in episodes of 1 to 12; the bound is passed by chance once in a thousand.
    """
    replay = buffer(200)
    for i, length in enumerate((1, 2, 3, 12, 12, 12, 12, 30)):
        episode(replay, f"{i}", length, first=100 * i)
    drawn = np.concatenate([replay.sample(1000).action[:, 0] for _ in range(84)])
    counts = np.unique_counts(drawn).counts
    assert len(counts) == 84
    assert np.sum((counts - 1000) ** 2 / 1000) < 131


def test_batch_is_never_smaller_than_asked():
    replay = buffer()
    episode(replay, "a", 5, purpose=Purpose.DEMONSTRATION, first=100)
    batch = replay.sample(64, demo_share=0.25)
    assert len(batch) == 64
    assert batch.demonstration.all()
    assert replay.last_demonstration_share == 1
    episode(replay, "b", 5)
    batch = replay.sample(64, demo_share=0.25)
    assert len(batch) == 64
    assert replay.last_demonstration_share == 0.25
    assert batch.demonstration.tolist() == [False] * 48 + [True] * 16
    assert ((batch.action[:, 0] >= 100) == batch.demonstration).all()
    amend(replay, "a", Outcome.DISCARDED)
    assert not replay.sample(64).demonstration.any()
    assert replay.last_demonstration_share == 0
    with pytest.raises(EmptyReplayError, match="no step to draw a batch from"):
        replay.sample_demonstrations(4)


def test_shapes_and_dtypes_of_a_batch():
    of = contract(stack=3, image=True)
    replay = buffer(of=of)
    image = np.arange(18, dtype=np.uint8)
    frame = lambda i: [np.float32(i).tobytes(), (image + i).tobytes()]  # noqa: E731
    apply(replay, start=pb.EpisodeStart(episode_id="a", purpose=1, observation=frame(0)))
    step(replay, "a", 0, observed=frame(1))
    step(replay, "a", 1, observed=frame(2))
    batch = replay.windows(np.sort(replay.online_rows))
    assert batch.observation[STATE].dtype == np.float32
    assert batch.observation[IMAGE].dtype == np.uint8
    assert batch.observation[STATE].tolist() == [[0, 0, 0], [0, 0, 1]]
    assert batch.next_observation[STATE].tolist() == [[0, 1, 2], [0, 1, 2]]
    expected = np.concatenate([(image + i).reshape(2, 3, 3) for i in (0, 0, 1)], axis=-1)
    np.testing.assert_array_equal(batch.observation[IMAGE][1], expected)
    for value in (batch.action, batch.reward, batch.discount, batch.proposed):
        assert value.dtype == np.float32
    assert batch.human.dtype == batch.demonstration.dtype == bool


def test_generator_state_survives_json():
    replay, other = buffer(seed=1), buffer(seed=2)
    for r in (replay, other):
        episode(r, "a", 50)
    replay.sample(10)
    other.set_rng_state(json.loads(json.dumps(replay.rng_state())))
    np.testing.assert_array_equal(replay.sample(32).action, other.sample(32).action)


def test_statistics_are_of_all_that_is_stored_and_not_discarded():
    replay = buffer(of=contract(stack=2))
    with pytest.raises(EmptyReplayError, match="holds no observation"):
        replay.statistics()
    episode(replay, "a", 3)
    episode(replay, "b", 1, purpose=Purpose.DEMONSTRATION, first=10)
    episode(replay, "c", 5, first=1e6, outcome=Outcome.DISCARDED)
    start(replay, "d", first=np.nan)
    mean, std = replay.statistics()[STATE]
    values = [0, 1, 2, 3, 10, 11]
    assert mean.shape == std.shape == (1,)
    assert mean.dtype == np.float32
    assert mean[0] == pytest.approx(np.mean(values))
    assert std[0] == pytest.approx(np.std(values))


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
