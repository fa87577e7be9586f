"""With a frozen encoder an update looks at few images; the others need not be copied, and nothing else changes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from episodes.outcome import Outcome, Purpose
from learner.algorithms import SACConfig, build_algorithm
from learner.image_columns import ImageColumns
from learner.prefetch import batch_source
from learner.replay import ReplayBuffer
from transport import records_pb2 as pb

STATE, FRONT, WRIST = "observation.state", "observation.images.front", "observation.images.wrist"
SIZE, STEPS, UPDATES = 16, 30, 25
OBSERVATIONS = (Feature(STATE, "float32", (4,)), *(Feature(n, "uint8", (SIZE, SIZE, 3)) for n in (FRONT, WRIST)))
CONTRACT = Contract(
    Interface(
        "t",
        OBSERVATIONS,
        Feature("action", "float32", (2,), low=(-1.0,), high=(1.0,)),
        reward=RewardBounds(True, 0.0, 1.0, True),
    ),
    View((FeatureView(STATE), FeatureView(FRONT, stack=2), FeatureView(WRIST))),
)


def filled() -> ReplayBuffer:
    """A demonstration and an episode of the policy, of random numbers."""
    replay, rng = ReplayBuffer(CONTRACT, capacity_bytes=10_000_000, n_step=3, seed=3), np.random.default_rng(1)

    def apply(**body) -> None:
        replay.apply(pb.LogEntry(record=pb.Record(**body)))

    def observation() -> list[bytes]:
        return [
            rng.standard_normal(4).astype(np.float32).tobytes(),
            *(rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8).tobytes() for _ in (FRONT, WRIST)),
        ]

    for purpose in (Purpose.DEMONSTRATION, Purpose.TRAINING):
        name = f"{int(purpose):032x}"
        apply(start=pb.EpisodeStart(episode_id=name, purpose=purpose, observation=observation()))
        for i in range(STEPS):
            step = pb.Step(episode_id=name, index=i, chosen=rng.uniform(-1, 1, 2), observation=observation())
            step.rewards.add(source="env", value=float(i == STEPS - 1))
            step.terminated = i == STEPS - 1
            apply(step=step)
        apply(end=pb.EpisodeEnd(episode_id=name, outcome=Outcome.SUCCESS, author="env"))
    return replay


def trained(monkeypatch, *, choosing: bool, **changes):
    """The state after some updates, and how many images were copied for each of them."""
    settings = {"hidden": (32, 32), "batch_size": 16, "critic_warmup_updates": 0, "encoder_frozen": "cloned"}
    config = SACConfig(**settings | changes)
    sac, replay = build_algorithm(CONTRACT, config, device="cpu", seed=5), filled()
    sac.freeze_statistics(replay.statistics())
    sac.clone(replay.sample_demonstrations(config.batch_size, sac.shift_px))
    copied = [0]
    gather = ImageColumns.gather

    def counted(self, name, rows, shifts, out):
        copied[-1] += len(rows)
        return gather(self, name, rows, shifts, out)

    monkeypatch.setattr(ImageColumns, "gather", counted)
    batches = batch_source(SimpleNamespace(prefetch="off", algorithm=config), sac, replay)
    if not choosing:
        batches._wanted = None
    for _ in range(UPDATES):
        sac.update(batches.next())
        copied.append(0)
    monkeypatch.setattr(ImageColumns, "gather", gather)
    return sac.state()[0], copied[:-1]


def test_updates_are_the_same_and_copy_only_what_is_not_known(monkeypatch):
    everything, all_copied = trained(monkeypatch, choosing=False)
    chosen, copied = trained(monkeypatch, choosing=True)
    assert all(torch.equal(everything[name], chosen[name]) for name in everything)
    assert copied[0] == all_copied[0] == 2 * 2 * 16
    assert sum(copied[-5:]) < 0.2 * sum(all_copied[-5:])


@pytest.mark.parametrize(
    "changes", [{"encoder_frozen": "never"}, {"encoder_cache_copies": 0}, {"target_encoder": True}], ids=str
)
def test_where_features_are_not_kept_all_images_are_copied(monkeypatch, changes):
    _, copied = trained(monkeypatch, choosing=True, **changes)
    assert set(copied) == {2 * 2 * 16}
