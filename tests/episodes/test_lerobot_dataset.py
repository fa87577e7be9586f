"""Out to a real LeRobotDataset and back: a long test, since importing lerobot alone takes up to 25 s.

How its frames are taken is tested without it, on frames as it gives them.
"""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from episodes.layout import ObservationLayout
from episodes.lerobot_dataset import DatasetError, export_episodes, import_dataset
from episodes.log import EpisodeLog, read_log
from transport import records_pb2 as pb

CONTRACT = Contract(
    Interface(
        "toy",
        (Feature("observation.images.front", "uint8", (36, 48, 3)), Feature("observation.state", "float32", (3,))),
        Feature("action", "float32", (2,), low=(-1.0,), high=(1.0,)),
        control_hz=10.0,
    ),
    View((FeatureView("observation.images.front", (4, 0, 32, 48), (16, 24)), FeatureView("observation.state"))),
)
LAYOUT = ObservationLayout(CONTRACT.stored)
OUTCOMES = [pb.OUTCOME_SUCCESS, pb.OUTCOME_TIMEOUT, pb.OUTCOME_FAILURE, pb.OUTCOME_DISCARDED]


def write_log(folder: Path) -> None:
    """Four episodes of 3, 4, 5 and 6 steps, one of each outcome."""
    rng = np.random.default_rng(0)

    def observe() -> list[bytes]:
        image = rng.integers(0, 256, (16, 24, 3), np.uint8)
        return LAYOUT.pack({"observation.images.front": image, "observation.state": rng.random(3, np.float32)})

    records = []
    for number, outcome in enumerate(OUTCOMES):
        id, steps = f"{number:032x}", number + 3
        start = pb.EpisodeStart(episode_id=id, purpose=pb.PURPOSE_TRAINING, observation=observe())
        records.append(pb.Record(start=start))
        for t in range(steps):
            action = rng.uniform(-1, 1, 2).astype(np.float32)
            last = t == steps - 1
            step = pb.Step(
                episode_id=id,
                index=t,
                proposed=action,
                chosen=action,
                sent=action,
                observation=observe(),
                rewards=[pb.Reward(source="env", value=float(last and outcome == pb.OUTCOME_SUCCESS))],
                terminated=last and outcome != pb.OUTCOME_TIMEOUT,
                truncated=last and outcome == pb.OUTCOME_TIMEOUT,
            )
            records.append(pb.Record(step=step))
        records.append(pb.Record(end=pb.EpisodeEnd(episode_id=id, outcome=outcome, author="env", steps=steps)))
    with EpisodeLog(folder, run_id="run", interface_fingerprint=CONTRACT.interface_fingerprint, sync="os") as log:
        for sequence, record in enumerate(records, 1):
            record.sequence = sequence
        log.append([pb.LogEntry(spool_id="a", actor="a", record=r).SerializeToString() for r in records])


def contents(folder: Path) -> list[tuple]:
    """All that learning takes of a log, without the discarded episode."""
    found = []
    for _, entry in read_log(folder):
        record = entry.record
        if record.HasField("start"):
            found.append((list(record.start.observation),))
        elif record.HasField("step"):
            s = record.step
            rewards = [r.value for r in s.rewards]
            found.append((s.index, s.human, list(s.chosen), list(s.observation), rewards, s.terminated, s.truncated))
        else:
            found.append((record.end.outcome, record.end.steps))
    return found


def import_frames(monkeypatch, tmp_path: Path, images: list) -> np.ndarray:
    """The images (T, H, W, C) of a demonstration that is imported from frames with such images."""
    fixed = {"observation.state": torch.zeros(3), "action": torch.zeros(2)}
    frames = [{**fixed, "observation.images.front": image} for image in images]
    features = {feature.name: {"shape": feature.shape} for feature in (*CONTRACT.stored, CONTRACT.interface.action)}
    rows = [{"dataset_from_index": 0, "dataset_to_index": len(frames)}]
    dataset = SimpleNamespace(features=features, num_episodes=1, meta=SimpleNamespace(episodes=rows))
    monkeypatch.setattr("episodes.lerobot_dataset.open_dataset", lambda folder: dataset)
    monkeypatch.setattr("episodes.lerobot_dataset.read_frame", lambda dataset, number, row: frames[row])
    assert import_dataset(tmp_path / "dataset", CONTRACT, tmp_path / "demos") == 1
    packed = [c[0] if len(c) == 1 else c[3] for c in contents(tmp_path / "demos" / "log") if len(c) in (1, 7)]
    return np.stack([LAYOUT.unpack(observation)["observation.images.front"] for observation in packed])


@pytest.mark.parametrize("kind", ["uint8", "float", "float64", "channels first", "uint8 channels first"])
def test_images_are_taken_in_the_scale_and_the_order_of_the_contract(tmp_path, monkeypatch, kind):
    images = np.arange(3 * 16 * 24 * 3, dtype=np.uint16).reshape(3, 16, 24, 3).astype(np.uint8)
    given = torch.from_numpy(images)
    if "first" in kind:
        given = given.movedim(-1, 1)
    if "uint8" not in kind:
        given = (given.double() if kind == "float64" else given.float()) / 255.0
    taken = import_frames(monkeypatch, tmp_path, list(given))
    assert taken.dtype == np.uint8
    np.testing.assert_array_equal(taken, images)


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (torch.full((3, 16, 24), 254.0), "float32 from 254 to 254"),
        (torch.full((3, 16, 24), -0.5), "float32 from -0.5 to -0.5"),
        (torch.full((3, 16, 24), 7, dtype=torch.int64), "int64 from 7 to 7"),
        (torch.full((3, 16, 24), torch.nan), "float32 from nan to nan"),
    ],
)
def test_images_of_another_scale_are_refused(tmp_path, monkeypatch, image, got):
    text = rf"'observation.images.front' of episode 0, frame 1 must be uint8, or float from 0 to 1\. Got: {got}"
    with pytest.raises(DatasetError, match=text):
        import_frames(monkeypatch, tmp_path, [torch.zeros((3, 16, 24)), image])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("lerobot") is None, reason="lerobot is not installed (extra: lerobot)")
def test_round_trip_loses_nothing_and_foreign_data_is_checked(tmp_path, monkeypatch) -> None:
    write_log(tmp_path / "log")
    assert export_episodes(tmp_path / "log", CONTRACT, tmp_path / "dataset") == 3
    assert import_dataset(tmp_path / "dataset", CONTRACT, tmp_path / "demos") == 3
    assert contents(tmp_path / "demos" / "log") == contents(tmp_path / "log")[: -(1 + 6 + 1)]

    other = Contract(
        Interface("toy", CONTRACT.interface.observations, Feature("action", "float32", (4,))), CONTRACT.view
    )
    with pytest.raises(DatasetError, match=r"'action'.*must have shape \(4,\)\. Got: \(2,\)"):
        import_dataset(tmp_path / "dataset", other, tmp_path / "other")
    for view, text in (
        (
            FeatureView("observation.images.front", (4, 0, 32, 48), (8, 12)),
            r"shape \(8, 12, 3\), after crop and resize",
        ),
        (
            FeatureView("observation.images.front", (0, 0, 32, 48), (16, 24)),
            r"crop: expected \(0, 0, 32, 48\), got \(4,",
        ),
    ):
        with pytest.raises(DatasetError, match=text):
            import_dataset(tmp_path / "dataset", Contract(CONTRACT.interface, View((view,))), tmp_path / "other")
    assert not (tmp_path / "other").exists()

    (tmp_path / "dataset" / "tandem" / "final_observations.npz").unlink()
    assert import_dataset(tmp_path / "dataset", CONTRACT, tmp_path / "foreign") == 3
    ends = [c for c in contents(tmp_path / "foreign" / "log") if len(c) == 2]
    assert ends == [(pb.OUTCOME_SUCCESS, 2), (pb.OUTCOME_TIMEOUT, 3), (pb.OUTCOME_FAILURE, 4)]
    monkeypatch.setattr("episodes.lerobot_dataset._ACTION_MARGIN", -0.9)
    with pytest.raises(DatasetError, match=r"'action' of episode 0, frame 0 must lie in the contract's \[-1, 1\]"):
        import_dataset(tmp_path / "dataset", CONTRACT, tmp_path / "wild")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dataset", "demos", "foreign", "log"]

    steps = [c for c in contents(tmp_path / "foreign" / "log") if len(c) == 7]
    assert [s[4] for s in steps[:2]] == [[0.0], [1.0]]


def test_bad_folders_are_refused(tmp_path) -> None:
    with pytest.raises(DatasetError, match=r"is no LeRobotDataset \(no meta/info\.json\)"):
        import_dataset(tmp_path, CONTRACT, tmp_path / "out")
    with pytest.raises(DatasetError, match="exists already"):
        export_episodes(tmp_path, CONTRACT, tmp_path)
    with EpisodeLog(tmp_path / "log", run_id="r", interface_fingerprint=CONTRACT.interface_fingerprint):
        pass
    with pytest.raises(DatasetError, match="holds no finished episode"):
        export_episodes(tmp_path / "log", CONTRACT, tmp_path / "dataset")
