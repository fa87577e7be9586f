"""Images in the replay buffer: their scale, size and shift, where they are kept, and what names them."""

import numpy as np
import pytest
import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from episodes.outcome import Outcome, Purpose
from learner.image_columns import fits
from learner.replay import ReplayBuffer, ReplayConfig, replay_device
from learner.replay_rows import row_bytes
from transport import records_pb2 as pb

STATE, IMAGE = "observation.state", "observation.images.front"
CONTRACT = Contract(
    Interface(
        "test",
        (Feature(STATE, "float32", (1,)), Feature(IMAGE, "uint8", (2, 3, 3))),
        Feature("action", "float32", (1,)),
    ),
    View(()),
)
GAMMA = 0.5


def buffer(of, rows=100, **settings):
    return ReplayBuffer(of, capacity_bytes=rows * row_bytes(of), gamma=GAMMA, **settings)


def apply(replay, **body):
    replay.apply(pb.LogEntry(record=pb.Record(**body)))


def step(replay, name, index, *, observed, **fields):
    rewards = [pb.Reward(source="env", value=0.0)]
    apply(
        replay,
        step=pb.Step(episode_id=name, index=index, chosen=[index], observation=observed, rewards=rewards, **fields),
    )


def image_episode(replay, name, frames, *, purpose=Purpose.TRAINING):
    """One step from each frame but the last to the one after it; a frame is the value of all its pixels."""
    shown = [[np.float32(value).tobytes(), bytes([value] * 18)] for value in frames]
    apply(replay, start=pb.EpisodeStart(episode_id=name, purpose=purpose, observation=shown[0]))
    for i, following in enumerate(shown[1:]):
        step(replay, name, i, observed=following, truncated=i == len(shown) - 2)
    apply(replay, end=pb.EpisodeEnd(episode_id=name, outcome=Outcome.TIMEOUT, author="env"))


def test_images_of_demonstrations_and_of_actors_have_one_scale():
    """The bytes of the cameras, 0 to 255, from wherever they come: the encoder alone scales them."""
    replay = buffer(CONTRACT)
    image_episode(replay, "demo", [0, 127, 255], purpose=Purpose.DEMONSTRATION)
    image_episode(replay, "online", [0, 127, 255])
    for batch in (replay.windows(replay.demonstration_rows), replay.windows(replay.online_rows)):
        assert batch.observation[IMAGE].dtype == np.uint8
        assert sorted(batch.observation[IMAGE].max((1, 2, 3)).tolist()) == [0, 127]
        assert (batch.next_observation[IMAGE] > 100).all()
    assert replay.sample(32).observation[IMAGE].dtype == np.uint8


def test_image_after_a_time_out_is_its_own_final_one():
    replay = buffer(CONTRACT)
    image_episode(replay, "a", [1, 2, 3])
    image_episode(replay, "b", [101, 102])
    batch = replay.windows(replay.online_rows)
    follows = zip(batch.observation[IMAGE][:, 0, 0, 0], batch.next_observation[IMAGE][:, 0, 0, 0], strict=True)
    assert sorted((int(image), int(following)) for image, following in follows) == [(1, 2), (2, 3), (101, 102)]
    assert (batch.discount == np.float32(GAMMA)).all()


def test_batch_without_images_holds_the_same_transitions():
    left, right = (buffer(CONTRACT) for _ in range(2))
    for replay in (left, right):
        image_episode(replay, "a", list(range(20)))
    whole, blind = left.sample(16), right.sample(16, images=False)
    assert IMAGE not in blind.observation
    assert IMAGE not in blind.next_observation
    for name in ("rows", "next_rows", "generation", "action", "reward"):
        np.testing.assert_array_equal(getattr(blind, name), getattr(whole, name))
    np.testing.assert_array_equal(blind.observation[STATE], whole.observation[STATE])


def test_rewritten_row_has_another_generation():
    replay = buffer(CONTRACT, 6, protected_share=0.4)
    image_episode(replay, "a", [1, 2, 3])
    before = replay.sample(8)
    assert (replay.generation[before.rows] == before.generation).all()
    for i in range(3):
        image_episode(replay, f"{i}", [10 + i, 20 + i, 30 + i])
    assert (replay.generation[before.rows] != before.generation).all()
    with pytest.raises(ValueError, match="read-only"):
        replay.generation[0] = 0


def test_shift_is_drawn_apart_for_each_image_and_for_the_next_observation():
    replay = buffer(
        of=Contract(
            Interface("test", (Feature(IMAGE, "uint8", (32, 32, 3)),), Feature("action", "float32", (1,))), View(())
        )
    )
    pixels = np.arange(32 * 32 * 3).astype(np.uint8).tobytes()
    apply(replay, start=pb.EpisodeStart(episode_id="a", purpose=1, observation=[pixels]))
    step(replay, "a", 0, observed=[pixels])
    batch = replay.sample(64, shift_px=4)
    first, second = batch.observation[IMAGE], batch.next_observation[IMAGE]
    assert len({image.tobytes() for image in first}) > 30
    assert sum(bool((a == b).all()) for a, b in zip(first, second, strict=True)) < 10


def test_refuses_a_shift_as_large_as_the_image():
    replay = buffer(CONTRACT)
    image_episode(replay, "a", [1, 2])
    assert replay.sample(4, shift_px=1).observation[IMAGE].shape == (4, 2, 3, 3)
    with pytest.raises(ValueError, match=r"less than the 2 x 3 px of the image\. Got: 2; lower shift_px"):
        replay.sample(4, shift_px=2)


def test_images_are_kept_where_the_settings_say():
    of = CONTRACT
    state = Contract(Interface("test", CONTRACT.interface.observations[:1], CONTRACT.interface.action), View(()))
    assert replay_device(ReplayConfig(device="device"), of, 10**6, "cpu") == torch.device("cpu")
    assert replay_device(ReplayConfig(device="device"), state, 10**6, "cpu") is None
    for where in ("host", "auto"):
        assert replay_device(ReplayConfig(device=where), of, 10**6, "cpu") is None
    assert fits(int(20e9), int(40e9))
    assert not fits(int(25e9), int(40e9))
    assert not fits(int(1e9), int(2.5e9))
    with pytest.raises(ValueError, match=r"replay\.device must be one of .* Got: 'gpu'"):
        ReplayConfig(device="gpu")


def test_refuses_more_memory_than_the_device_has():
    camera = Feature(IMAGE, "uint8", (480, 640, 3))
    of = Contract(Interface("test", (camera,), Feature("action", "float32", (1,))), View(()))
    with pytest.raises(ValueError, match=r"cpu has no 1000000\.0 GB for replay\. Lower .* or set replay\.device=host"):
        ReplayBuffer(of, capacity_bytes=10**15, device="cpu")


def test_stores_images_at_the_size_the_view_gives_them():
    base = CONTRACT
    of = Contract(base.interface, View((FeatureView(IMAGE, crop=(0, 0, 2, 2), resize=(4, 5), stack=2),)))
    replay = buffer(of)
    frame = lambda i: [np.float32(i).tobytes(), bytes([i] * 60)]  # noqa: E731
    apply(replay, start=pb.EpisodeStart(episode_id="a", purpose=1, observation=frame(0)))
    step(replay, "a", 0, observed=frame(1))
    batch = replay.sample(1)
    assert batch.observation[IMAGE].shape == (1, 4, 5, 6)
    assert batch.next_observation[IMAGE][0, 0, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert row_bytes(of) == row_bytes(base) - 18 + 60
