import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes.outcome import Held, Outcome, Purpose
from learner.episode_metrics import EpisodeMetrics, discounted
from metrics import names
from transport import records_pb2 as pb


class Log:
    """Feeds entries of episodes to metrics."""

    def __init__(self, metrics: EpisodeMetrics):
        self.metrics = metrics
        self.count = 0

    def entry(self, spool: str = "a", **body):
        return self.metrics.apply(pb.LogEntry(spool_id=spool, actor="arm", record=pb.Record(**body)))

    def episode(
        self,
        steps: int = 4,
        outcome: Outcome = Outcome.SUCCESS,
        *,
        human=(),
        purpose: Purpose = Purpose.TRAINING,
        version: int = 0,
        spool: str = "a",
        late_ms: float = 0.0,
        author: str = "env",
        held=(),
        interrupted: bool = False,
    ):
        self.count += 1
        episode_id = f"{self.count:032x}"
        self.entry(spool, start=pb.EpisodeStart(episode_id=episode_id, purpose=purpose))
        for i in range(steps):
            success = outcome is Outcome.SUCCESS and i == steps - 1
            self.entry(
                spool,
                step=pb.Step(
                    episode_id=episode_id,
                    index=i,
                    human=i in human,
                    rewards=[pb.Reward(source="env", value=float(success))],
                    terminated=success,
                    truncated=outcome is Outcome.TIMEOUT and i == steps - 1,
                    policy_version=version,
                    held=Held.STALE_OBSERVATION if i in held else Held.NO,
                    period_error_ms=late_ms * i,
                ),
            )
        if interrupted:
            self.entry(spool, step=pb.Step(episode_id=episode_id, index=steps, interrupted=True))
        end = pb.EpisodeEnd(episode_id=episode_id, outcome=outcome, author=author, steps=steps)
        return self.entry(spool, end=end)


@pytest.fixture
def log() -> Log:
    return Log(EpisodeMetrics(gamma=0.9))


def test_rates_over_the_last_twenty_training_episodes(log):
    for _ in range(20):
        log.episode(4, Outcome.FAILURE)
    for i in range(20):
        log.episode(4, Outcome.SUCCESS if i < 15 else Outcome.TIMEOUT, human=(0, 1) if i < 5 else ())
    values = log.metrics.metrics()
    assert values[names.SUCCESS_RATE] == 0.75
    assert values[names.SUCCESS_RATE_AUTONOMOUS] == pytest.approx(10 / 15)
    assert values[names.INTERVENTION_RATE] == pytest.approx(10 / 80)
    assert values[names.INTERVENTION_RATE_EPISODES] == 0.25
    assert values[names.EPISODES] == 40
    assert values[names.ENV_STEPS] == 160
    assert values[names.EPISODE_RETURN] == 0.75


def test_demonstrations_and_evaluations_are_no_training(log):
    log.episode(6, purpose=Purpose.DEMONSTRATION, human=range(6))
    log.episode(5, purpose=Purpose.EVALUATION)
    assert log.metrics.env_steps == 0
    assert log.metrics.steps_by_spool == {}
    assert names.SUCCESS_RATE not in log.metrics.metrics()
    assert log.metrics.operator_cycle_steps == 6


def test_the_operators_cycle_is_of_wholly_human_successes(log):
    assert log.metrics.operator_cycle_steps is None
    log.episode(10, human=range(10))
    log.episode(20, human=range(20), purpose=Purpose.DEMONSTRATION)
    log.episode(50, Outcome.FAILURE, human=range(50))
    log.episode(4, human=(1, 2))
    assert log.metrics.operator_cycle_steps == 15


def test_discarded_and_cut_episodes_count_in_steps_alone(log):
    log.episode(4, Outcome.SUCCESS)
    log.episode(3, Outcome.CUT)
    log.episode(3, Outcome.DISCARDED, author="person")
    assert log.metrics.env_steps == 10
    assert log.metrics.episodes == 3
    assert log.metrics.metrics()[names.SUCCESS_RATE] == 1.0
    assert log.metrics.metrics()[names.EPISODE_LENGTH] == 4


def test_amendments_change_what_was_counted(log):
    first = log.episode(4, Outcome.SUCCESS)
    second = log.episode(6, Outcome.TIMEOUT)
    log.entry("", amendment=pb.Amendment(episode_id=first.id, author="person", outcome=Outcome.FAILURE))
    assert log.metrics.metrics()[names.SUCCESS_RATE] == 0
    log.entry("", amendment=pb.Amendment(episode_id=second.id, author="person", outcome=Outcome.SUCCESS, step=2))
    values = log.metrics.metrics()
    assert values[names.SUCCESS_RATE] == 0.5
    assert values[names.EPISODE_RETURN] == 0.5
    assert second.cycle_steps == 3
    log.entry("", amendment=pb.Amendment(episode_id=second.id, author="person", outcome=Outcome.DISCARDED))
    assert log.metrics.metrics()[names.SUCCESS_RATE] == 0


def test_an_amended_demonstration_changes_the_operators_cycle(log):
    first = log.episode(4, purpose=Purpose.DEMONSTRATION, human=range(4))
    log.episode(8, human=range(8))
    assert log.metrics.operator_cycle_steps == 6
    log.entry("", amendment=pb.Amendment(episode_id=first.id, author="person", outcome=Outcome.DISCARDED))
    assert log.metrics.operator_cycle_steps == 8


def test_memory_does_not_grow_with_episodes_and_crashes(log):
    def size() -> int:
        log.metrics.metrics()
        return len(pickle.dumps(vars(log.metrics)))

    def run(count: int) -> int:
        for i in range(count):
            log.episode(50, human=range(50))
            log.entry(start=pb.EpisodeStart(episode_id=f"crashed-{log.count}-{i}", purpose=Purpose.TRAINING))
            for index in range(50):
                log.entry(step=pb.Step(episode_id=f"crashed-{log.count}-{i}", index=index))
        return size()

    full = run(400)
    assert run(200) - full < 200 * 100


def test_held_and_interrupted_steps_are_counted_apart(log):
    log.episode(5, held=(1, 2), interrupted=True, outcome=Outcome.CUT)
    values = log.metrics.metrics()
    assert values[names.HELD_STEPS] == 2
    assert values[names.INTERRUPTED_STEPS] == 1
    assert values[names.ENV_STEPS] == 5


def test_policy_lag_counts_steps_since_the_acting_version_was_superseded(log):
    metrics = log.metrics
    log.episode(4, version=0)
    metrics.published(0)
    log.episode(4, version=0)
    assert metrics.spool_lag("a") == 0
    metrics.published(1)
    log.episode(3, version=0, spool="b")
    assert metrics.spool_lag("b") == 3
    log.episode(2, version=1)
    assert metrics.spool_lag("a") == 0
    metrics.published(2)
    metrics.published(3)
    log.episode(1, version=1)
    assert metrics.spool_lag("a") == 1


def test_a_version_of_an_earlier_process_is_superseded_since_the_start(log):
    log.episode(4, version=7)
    log.metrics.published(64)
    log.episode(5, version=7)
    assert log.metrics.spool_lag("a") == 5


def test_control_period_percentiles(log):
    log.episode(101, Outcome.TIMEOUT)
    assert names.CONTROL_PERIOD_MS_P50 not in log.metrics.metrics()  # in lockstep there is no deadline
    log.episode(102, Outcome.TIMEOUT, late_ms=1.0)
    values = log.metrics.metrics()
    assert values[names.CONTROL_PERIOD_MS_P50] == 51
    assert values[names.CONTROL_PERIOD_MS_P99] == 100


@given(st.lists(st.floats(-10, 10), max_size=30), st.floats(0.01, 0.99))
def test_discounted_returns_are_the_sums_they_name(rewards, gamma):
    rewards = np.array(rewards)
    expected = [sum(gamma**k * r for k, r in enumerate(rewards[i:])) for i in range(len(rewards))]
    np.testing.assert_allclose(discounted(rewards, gamma), expected, atol=1e-9)


def test_every_metric_has_a_registered_name(log):
    log.episode(4, human=(1,))
    log.episode(4)
    assert set(log.metrics.metrics()) <= set(names.BY_NAME)
