"""Labelled frames from recordings, from what people said of a run, and from image folders."""

import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from actor.record import RecordConfig, record
from envs.so101_sim import SO101SimConfig
from episodes.contract_file import load_contract
from episodes.log import EpisodeLog, read_log
from reward.calibration import confirm_episodes
from reward.config import HumanReward, RewardError
from reward.frames import counted
from reward.labels import append_labels, read_labels, spans_of
from reward.sources import labels_of_log, load_frames, task_of
from transport import records_pb2 as pb

PIXELS = SO101SimConfig(obs="pixels", image_width=32, image_height=32)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    out = tmp_path_factory.mktemp("labels") / "recorded"
    config = RecordConfig(
        env="so101_sim", env_config=PIXELS, out=str(out), episodes=1, near_misses=2, reward=HumanReward()
    )
    assert record(config) == 0
    return out


def episodes(folder):
    return [e.record.end for _, e in read_log(folder / "log") if e.record.HasField("end")]


def test_the_success_key_and_near_misses_label_every_frame(recordings):
    frames = load_frames([str(recordings)])
    ends = episodes(recordings)
    assert len(frames) == sum(end.steps + 1 for end in ends)
    assert {
        label: frames.labels.count(label) > 0 for label in ("success", "failure", "almost", "air")
    } == dict.fromkeys(("success", "failure", "almost", "air"), True)
    assert frames.labels.count("success") == 11
    assert counted(frames).startswith("11 of success from 1 episodes, ")
    opened = f"tandem label data={recordings} episode={frames.episodes[-1]} frame={frames.indices[-1]}"
    assert frames.subset(np.array([0, len(frames) - 1])).places[1] == opened
    (success,) = [end for end in ends if end.outcome == pb.OUTCOME_SUCCESS]
    assert success.author == "operator"
    shown = [r.source for _, e in read_log(recordings / "log") for r in e.record.step.rewards]
    assert set(shown) == {"env", "person"}
    assert len(read_labels(recordings)) == 3


def test_gates_rule_frames_out_by_the_state_that_was_recorded(recordings, tmp_path):
    frames = load_frames([str(recordings)], gates=("tool.z>0.06",))
    success, almost = (np.array([label == name for label in frames.labels]) for name in ("success", "almost"))
    assert not frames.gated[success].any(), "a lifted cube is held above the gate"
    assert frames.gated[almost].any()
    assert not load_frames([str(recordings)]).gated.any()
    with pytest.raises(RewardError, match=r"^gates names 'tool\.h', which is not observed"):
        load_frames([str(recordings)], gates=("tool.h>0.06",))
    (tmp_path / "success").mkdir()
    with pytest.raises(RewardError, match=r"^gates must hold conditions like tool\.z>0\.06"):
        load_frames([str(recordings)], gates=("tool.z>>0.06",))
    with pytest.raises(RewardError, match="gates need the state of every frame"):
        load_frames([str(tmp_path)], gates=("tool.z>0.06",))


def test_what_people_said_of_a_run_is_labels_where_nobody_labelled(recordings, tmp_path):
    copy = tmp_path / "run"
    (copy / "log").mkdir(parents=True)
    for file in recordings.rglob("*"):
        if file.is_file() and file.name != "labels.jsonl":
            (copy / file.relative_to(recordings)).write_bytes(file.read_bytes())
    ends = episodes(copy)
    success = next(end for end in ends if end.outcome == pb.OUTCOME_SUCCESS)
    labels = labels_of_log(copy)
    misses = {end.episode_id for end in ends if end.outcome == pb.OUTCOME_FAILURE and end.author == "operator"}
    assert set(labels) == {success.episode_id, *misses}, "time-outs and discards by the program say nothing of frames"
    assert {label for miss in misses for label in labels[miss]} == {"failure"}
    assert labels[success.episode_id][-1] == "success"
    assert labels[success.episode_id][0] == "failure"
    assert labels[success.episode_id][-2] == "", "what comes just before may look like success already"
    with EpisodeLog(copy / "log") as log:
        amendment = pb.Amendment(episode_id=success.episode_id, author="person", outcome=pb.OUTCOME_FAILURE)
        log.append([pb.LogEntry(actor="label", record=pb.Record(sequence=1, amendment=amendment)).SerializeToString()])
    corrected = labels_of_log(copy)[success.episode_id]
    assert corrected == ["failure"] * (success.steps + 1 - 5) + ["wrong"] * 5


def test_the_later_of_labels_and_a_changed_outcome_counts(recordings, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(recordings, copy)
    (success,) = [end.episode_id for end in episodes(copy) if end.outcome == pb.OUTCOME_SUCCESS]
    before = len(load_frames([str(copy)]))
    own = labels_of_log(copy)[success]
    assert own.count("success") == 11

    def amend(outcome):
        with EpisodeLog(copy / "log") as log:
            sequence = log.watermarks().get("label", 0) + 1
            body = pb.Amendment(episode_id=success, author="person", outcome=outcome, time_ns=time.time_ns())
            entry = pb.LogEntry(spool_id="label", record=pb.Record(sequence=sequence, amendment=body))
            log.append([entry.SerializeToString()])

    amend(pb.OUTCOME_FAILURE)
    assert labels_of_log(copy)[success] == ["failure"] * (len(own) - 5) + ["wrong"] * 5
    append_labels(copy, success, spans_of(own), "person")
    assert labels_of_log(copy)[success] == own
    amend(pb.OUTCOME_DISCARDED)
    assert labels_of_log(copy)[success] == []
    assert len(load_frames([str(copy)])) == before - len(own)


def test_an_episode_of_recordings_that_a_run_holds_too_is_one_episode_by_the_latest_word(recordings, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(recordings / "log", run / "log")
    shutil.copy(recordings / "contract.json", run)
    alone = load_frames([str(recordings)])
    for paths in ([recordings, run], [run, recordings], [recordings, recordings]):
        both = load_frames([str(path) for path in paths])
        assert sorted(zip(both.episodes, both.indices, both.labels, strict=True)) == sorted(
            zip(alone.episodes, alone.indices, alone.labels, strict=True)
        ), "labels of frames are later than how an episode ended"
    (success,) = [end.episode_id for end in episodes(run) if end.outcome == pb.OUTCOME_SUCCESS]
    with EpisodeLog(run / "log") as log:
        body = pb.Amendment(episode_id=success, author="person", outcome=pb.OUTCOME_FAILURE, time_ns=time.time_ns())
        log.append([pb.LogEntry(actor="label", record=pb.Record(sequence=1, amendment=body)).SerializeToString()])
    for paths in ([recordings, run], [run, recordings]):
        both = load_frames([str(path) for path in paths])
        assert len(both) == len(alone)
        assert not both.positive.any(), "the person said last that it was wrong"
        assert both.labels.count("wrong") == 5
    append_labels(run, success, [], "person")
    assert success not in load_frames([str(recordings), str(run)]).episodes, "the last word is that it says nothing"


def test_of_two_words_without_a_time_the_later_folder_counts(recordings, tmp_path):
    """How an episode ended has no time."""
    (recorded,) = [end.episode_id for end in episodes(recordings) if end.outcome == pb.OUTCOME_SUCCESS]
    for name, outcome in (("a", pb.OUTCOME_SUCCESS), ("b", pb.OUTCOME_FAILURE)):
        (tmp_path / name).mkdir()
        shutil.copy(recordings / "contract.json", tmp_path / name)
        interface = load_contract(tmp_path / name / "contract.json").interface_fingerprint
        with EpisodeLog(tmp_path / name / "log", run_id=name, interface_fingerprint=interface) as log:
            for _, entry in read_log(recordings / "log"):
                if entry.record.HasField("end") and entry.record.end.episode_id == recorded:
                    entry.record.end.outcome = outcome
                log.append([entry.SerializeToString()])
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert not load_frames([a, b]).positive.any()
    assert load_frames([b, a]).positive.any()


def test_image_folders_are_read_by_label_episode_and_camera(tmp_path):
    for label, value in (("success", 200), ("failure", 20), ("almost", 90)):
        for episode in ("one", "two"):
            for camera in ("front", "wrist"):
                folder = tmp_path / label / episode / camera
                folder.mkdir(parents=True)
                for index in range(3):
                    cv2.imwrite(str(folder / f"{index}.png"), np.full((12, 16, 3), (value, 0, 0), np.uint8))
    frames = load_frames([str(tmp_path)])
    assert [c.name for c in frames.cameras] == ["observation.images.front", "observation.images.wrist"]
    assert (len(frames), len(set(frames.episodes)), frames.labels.count("almost")) == (18, 2, 6)
    assert all(label in Path(place).parts for label, place in zip(frames.labels, frames.places, strict=True))
    assert all(Path(place).is_file() for place in frames.places)
    assert frames.images["observation.images.wrist"][frames.positive][0, 0, 0].tolist() == [0, 0, 200], "RGB"
    assert len(load_frames([str(tmp_path)], ["wrist"]).images) == 1
    (tmp_path / "sucess").mkdir()
    with pytest.raises(RewardError, match=r"wrong\. Got: sucess\. Did you mean 'success'\?"):
        load_frames([str(tmp_path)])
    (tmp_path / "sucess").rmdir()
    cv2.imwrite(str(tmp_path / "success" / "one" / "front" / "0.png"), np.zeros((10, 16, 3), np.uint8))
    with pytest.raises(RewardError, match=r"must have 12 x 16 pixels, like the first image. Got: 10 x 16"):
        load_frames([str(tmp_path)])
    cv2.imwrite(str(tmp_path / "success" / "loose.png"), np.zeros((12, 16, 3), np.uint8))
    with pytest.raises(RewardError, match="lies directly in"):
        load_frames([str(tmp_path)])


def test_images_of_an_episode_follow_each_other_by_name_and_two_folders_of_one_name_share_none(tmp_path):
    for data in ("a/data", "b/data"):
        for index in range(12):
            folder = tmp_path / data / ("success" if index >= 9 else "air" if index % 2 else "failure") / "one"
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"frame{index}.png"), np.full((12, 16, 3), index, np.uint8))
    frames = load_frames([str(tmp_path / "a/data"), str(tmp_path / "b/data")])
    assert frames.images["observation.images.front"][:, 0, 0, 0].tolist() == 2 * list(range(12))
    assert frames.labels[:12] == ("failure", "air") * 4 + ("failure",) + ("success",) * 3
    assert len(set(frames.episodes)) == 2
    everything = np.ones(len(frames), bool)
    found = confirm_episodes(everything, frames.positive, frames.episodes, frames.indices, confirm=3, control_hz=10)
    assert [episode.right for episode in found] == [False, False], "who calls all of it success is wrong"


def test_the_control_rate_is_the_contracts_or_the_fps_of_a_lerobot_dataset(tmp_path, recordings):
    (tmp_path / "images" / "success").mkdir(parents=True)
    (tmp_path / "dataset" / "meta").mkdir(parents=True)
    (tmp_path / "dataset" / "meta" / "info.json").write_text('{"codebase_version": "v3.0", "fps": 30}')
    images, dataset = str(tmp_path / "images"), str(tmp_path / "dataset")
    assert task_of([images]) == ("", 0.0)
    assert task_of([images, dataset]) == ("", 30.0)
    assert task_of([str(recordings), dataset])[1] == 10.0


def test_a_folder_that_holds_no_labels_says_what_would_be(tmp_path):
    with pytest.raises(RewardError, match=r"is none of these: recordings or a run"):
        load_frames([str(tmp_path)])
