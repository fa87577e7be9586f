"""A small replay buffer, the log entries of its episodes, and the windows it can draw."""

import numpy as np

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from episodes.outcome import Outcome, Purpose
from learner.replay import ReplayBuffer
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
