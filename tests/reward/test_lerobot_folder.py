"""A LeRobotDataset as labelled frames; with a real one a long test, since importing lerobot alone takes up to 25 s."""

import importlib.util
import json
import sys

import cv2
import numpy as np
import pytest

from episodes.layout import ObservationLayout
from episodes.lerobot_dataset import export_episodes
from episodes.log import read_log
from reward.config import RewardError
from reward.dataset_labelling import DatasetLabelling
from reward.lerobot_folder import DatasetFolder, labels_of_rewards
from reward.sources import load_frames
from tests.episodes.test_lerobot_dataset import CONTRACT, write_log

CAMERA = "observation.images.front"


@pytest.mark.parametrize(
    ("rewards", "labels"),
    [
        ([0, 0, 0, 0, 0, 1], "ff...s"),
        ([0, 0, 0, 0, 0.7, 0.5], "f...ss"),
        ([0, 0, 0, 1, 1, 1], "fffsss"),
        ([0, 1, 0, 0, 0, 0, 0, 0.4], ".s...fff"),
        ([0, 0, 0, 0], "ffff"),
        ([1, 1], "ss"),
        ([], ""),
    ],
)
def test_failure_so_near_to_a_short_success_has_no_label(rewards, labels):
    names = {"s": "success", "f": "failure", ".": ""}
    assert labels_of_rewards(np.array(rewards, float), near=3) == [names[label] for label in labels]


def write_dataset(folder, *, rewarded=True):
    """Four episodes of 15 frames at 5 Hz whose brightness counts; the last frame of the even ones is a success."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    features = {
        CAMERA: {"dtype": "video", "shape": (64, 64, 3), "names": ["height", "width", "channels"]},
        "action": {"dtype": "float32", "shape": (1,), "names": None},
    } | ({"next.reward": {"dtype": "float32", "shape": (1,), "names": None}} if rewarded else {})
    dataset = LeRobotDataset.create("tandem/test", 5, features, root=folder, video_backend="pyav")
    for episode in range(4):
        for index in range(15):
            frame = {
                CAMERA: np.full((64, 64, 3), 40 * episode + 5 * index, np.uint8),
                "action": np.zeros(1, np.float32),
            }
            reward = {"next.reward": np.array([float(index == 14 and episode % 2 == 0)], np.float32)}
            dataset.add_frame(frame | (reward if rewarded else {}) | {"task": "count"})
        dataset.save_episode()
    dataset.finalize()


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("lerobot") is None, reason="lerobot is not installed (extra: lerobot)")
def test_a_dataset_with_a_reward_at_the_end_alone_is_taken_labelled_and_said_to_be_broken(tmp_path, capfd):
    folder, said = tmp_path / "data", []
    write_dataset(folder)
    capfd.readouterr()
    frames = load_frames([str(folder)], say=said.append)
    assert "torchcodec" not in "".join(capfd.readouterr()), "a decoder that nobody needs is not looked for"
    assert len(said) == 1
    assert said[0].startswith(
        f"{folder}: 2 of success from 2 episodes, 48 of failure from 4 episodes, and 10 frames without a label. In 2 ep"
    )
    assert said[0].endswith(f"tandem label data={folder}")
    assert frames.places[0] == f"tandem label data={folder} episode=0 frame=0"
    (first, _) = np.flatnonzero(frames.positive)
    assert (frames.indices[first - 1], frames.indices[first]) == (8, 14)
    assert abs(int(frames.images[CAMERA][first, 32, 32, 0]) - 70) <= 6

    page = DatasetLabelling(folder)
    assert [row["outcome"] for row in page.episodes()["episodes"]] == ["success", "failure"] * 2
    image = cv2.imdecode(np.frombuffer(page.picture("2", 4), np.uint8), cv2.IMREAD_COLOR)
    assert abs(int(image[100, 100, 0]) - 100) <= 8
    page.label("0", ["failure"] * 9 + ["success"] * 6, finished=True)
    assert page.episode("0")["labels"][8:10] == ["failure", "success"]
    again = load_frames([str(folder)], say=said.append)
    assert again.labels.count("success") == 7, "what a person labels goes above the rewards"
    assert "In 1 episodes" in said[-1]
    assert ["train with confirm=1" in line for line in said] == [True, False]
    with pytest.raises(RewardError, match="episodes 0 to 3"):
        page.picture("4", 0)
    with pytest.raises(RewardError, match="frames 0 to 14"):
        page.picture("0", 15)
    with pytest.raises(RewardError, match="keeps no outcomes"):
        page.amend("0", "failure", 0)

    (video,) = folder.rglob("*.mp4")
    video.write_bytes(b"no video")
    named = rf"^{folder}: the picture of {CAMERA} \({video}\) at row 0, in episode 0, cannot be decoded: .*Fetch"
    with pytest.raises(RewardError, match=named):
        load_frames([str(folder)])
    video.unlink()
    with pytest.raises(RewardError, match=rf"^{folder} lacks .*\.mp4, which holds the video of {CAMERA} in episode 0"):
        load_frames([str(folder)])
    (folder / "meta" / "tasks.parquet").unlink()
    with pytest.raises(RewardError, match=r"cannot be read as a LeRobotDataset v3\. Fetch all of its folders"):
        load_frames([str(folder)])

    write_dataset(tmp_path / "plain", rewarded=False)
    with pytest.raises(RewardError, match=r"lacks 'next\.reward'.* tandem label data="):
        load_frames([str(tmp_path / "plain")])
    DatasetLabelling(tmp_path / "plain").label("1", ["failure"] * 10 + [""] * 2 + ["success"] * 3, finished=True)
    assert len(load_frames([str(tmp_path / "plain")])) == 13


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("lerobot") is None, reason="lerobot is not installed (extra: lerobot)")
def test_of_an_export_of_ours_the_frame_after_the_last_step_is_the_success(tmp_path):
    write_log(tmp_path / "log")
    export_episodes(tmp_path / "log", CONTRACT, tmp_path / "data")
    dataset = DatasetFolder(tmp_path / "data")
    assert dataset.sizes == [4, 5, 6]
    assert dataset.labels()[:2] == [["", "", "", "success"], ["failure"] * 5]
    *_, last = (s.record.step for _, s in read_log(tmp_path / "log") if s.record.step.episode_id == f"{0:032x}")
    expected = ObservationLayout(CONTRACT.stored).unpack(last.observation)[CAMERA]
    assert (dataset.images(0, 3)[CAMERA] == expected).all()


def test_without_lerobot_a_dataset_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text(json.dumps({"codebase_version": "v3.0", "fps": 5}))
    for name in ["lerobot", *(name for name in sys.modules if name.startswith("lerobot."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RewardError, match=r"LeRobotDataset.*Install what reads it: pip install 'tandem-rl\[lerobot\]'"):
        load_frames([str(tmp_path)])
