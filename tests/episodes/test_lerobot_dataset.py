"""Out to a real LeRobotDataset and back: a long test, since importing lerobot alone takes up to 25 s."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

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
            r"crop: expected \(4, 0, 32, 48\), got \(0,",
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
