"""What a replay buffer draws: windows, what follows them, and what is never drawn."""

import json

import numpy as np
import pytest

from episodes.outcome import Outcome, Purpose
from learner.replay import EmptyReplayError
from tests.learner.replay_entries import (
    GAMMA,
    IMAGE,
    STATE,
    amend,
    apply,
    buffer,
    contract,
    end,
    episode,
    observation,
    start,
    step,
    windows,
)
from transport import records_pb2 as pb


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


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_what_a_person_reaches_after_taking_over_may_count_less(factor):
    """At the step after which a person takes over, and where windows end there; not where the person lets go."""
    replay = buffer(takeover_discount=factor)
    episode(replay, "a", 6, human=(2, 3), outcome=Outcome.SUCCESS)
    discounts = {action: discount for action, (_, _, discount, _) in windows(replay).items()}
    assert discounts == {0: factor * GAMMA**2, 1: factor * GAMMA, 2: GAMMA**2, 3: GAMMA, 4: 0.0, 5: 0.0}


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
