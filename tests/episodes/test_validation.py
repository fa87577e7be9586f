"""What a record may hold: every bound at its edge and beyond it."""

import math

import numpy as np
import pytest

from episodes.contract import Feature, RewardBounds
from episodes.layout import ObservationLayout
from episodes.spool_position import RecordError, SpoolPosition
from episodes.validation import check_record, reward_range
from transport import records_pb2 as pb

EPISODE = "e" * 32
LAYOUT = ObservationLayout(
    [Feature("observation.images.front", "uint8", (1, 1, 3)), Feature("observation.state", "float32", (2,))]
)
BOUNDS = reward_range(RewardBounds(True, -0.1, 0.5))


def observation(*state: float) -> list[bytes]:
    return [b"abc", np.array(state, "<f4").tobytes()]


def step(state=(1.0, 2.0), reward: float = 0.0, **fields) -> pb.Record:
    actions = {"proposed": [0.1, -1], "chosen": [0.2, 1], "sent": [-1, 1]} | fields
    rewards = [pb.Reward(source="env", value=reward)]
    return pb.Record(step=pb.Step(episode_id=EPISODE, observation=observation(*state), rewards=rewards, **actions))


def start(state=(1.0, 2.0), **fields) -> pb.Record:
    observed = observation(*state)
    return pb.Record(start=pb.EpisodeStart(episode_id=EPISODE, purpose=1, observation=observed, **fields))


def check(record: pb.Record) -> None:
    check_record(record, LAYOUT, 2, BOUNDS)


@pytest.mark.parametrize(
    "record",
    [
        step(sent=[1 + 9e-7, -1]),
        step(proposed=[math.nan, math.nan]),
        step(held=1, chosen=[math.nan, 7], sent=[math.inf, 0], proposed=[9, 9], state=(math.nan, 1)),
        step(reward=-0.1),
        step(reward=1.0),
        step(state=(1e18, -1e18)),
        step(policy_version=2**53 - 1, terminated=True),
        step(truncated=True),
        start(evaluation_id=2**53 - 1, policy_version=2**53 - 1),
    ],
)
def test_what_is_within_the_bounds_is_taken(record):
    check(record)


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (step(chosen=[0, 1.0001]), r"step\.chosen must be from -1 to 1 where the step is not held\. Got: \[0\.0, 1\.0"),
        (step(sent=[-2, 0]), r"step\.sent must be from -1 to 1"),
        (step(sent=[math.nan, 0]), r"step\.sent must be from -1 to 1"),
        (step(proposed=[math.nan, 3]), r"step\.proposed must be from -1 to 1"),
        (step(proposed=[0, -math.inf]), r"step\.proposed must be from -1 to 1"),
        (step(reward=1.01), r"step\.rewards\['env'\] must be from -0\.1 to 1\. Got: 1\.0"),
        (step(reward=-0.2), r"step\.rewards\['env'\] must be from"),
        (step(reward=math.nan), r"step\.rewards\['env'\] must be from"),
        (step(terminated=True, truncated=True), "step must be terminated or truncated. Got: both"),
        (
            step(state=(0, 1.1e18)),
            r"step\.observation 'observation.state' must be finite and within 1e\+18, .*Got: 1\.1",
        ),
        (step(state=(math.nan, 0)), r"step\.observation 'observation.state' must be finite .*Got: nan"),
        (step(state=(math.nan, -math.inf), held=1), r"step\.observation .* must be finite .*Got: -inf"),
        (step(policy_version=2**53), r"step\.policy_version must be below 2\*\*53\. Got: 9007199254740992"),
        (start(policy_version=2**64 - 1), r"start\.policy_version must be below 2\*\*53\. Got: 18446744073709551615"),
        (start(evaluation_id=2**64 - 1), r"start\.evaluation_id must be below 2\*\*53\. Got: 18446744073709551615"),
        (start(state=(math.nan, 0)), r"start\.observation 'observation.state' must be finite"),
    ],
)
def test_what_is_beyond_them_is_refused_by_field(record, text):
    with pytest.raises(RecordError, match=text):
        check(record)


def test_rewards_are_bounded_where_the_contract_states_nothing_too():
    check_record(step(reward=9e17), LAYOUT, 2)
    with pytest.raises(RecordError, match=r"must be from -1e\+18 to 1e\+18\. Got: 1\.99"):
        check_record(step(reward=2e18), LAYOUT, 2)


@pytest.mark.parametrize("last", ["terminated", "truncated"])
def test_no_step_follows_the_last_one_also_after_a_restart(last):
    position = SpoolPosition()
    for sequence, record in enumerate((start(), step(), step(index=1, **{last: True})), start=1):
        record.sequence = sequence
        position.advance(record)
    after = step(index=2)
    after.sequence = 4
    with pytest.raises(RecordError, match="step 2 came after the terminated or truncated step: send the end"):
        SpoolPosition(**position.to_json()).advance(after)
    end = pb.Record(sequence=4, end=pb.EpisodeEnd(episode_id=EPISODE, steps=2))
    position.advance(end)
    for sequence, record in enumerate((start(), step()), start=5):
        record.sequence = sequence
        position.advance(record)
