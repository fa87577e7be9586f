"""What `tandem reward train` takes over from the classifier that it replaces."""

import json
import re
import shutil

import cv2
import pytest

from cli import reward_train
from cli.composition import compose_verb
from cli.errors import CommandError
from episodes.log_lock import FolderLock
from reward.config import RewardError
from reward.replacement import objections
from reward.training import TrainConfig
from tests.reward.squares import CAMERAS, constant_classifier, square_frames


def settled(folder, *arguments):
    """The config of a training into ``folder``, and what it says of the classifier there."""
    given = ("data=labels", f"out={folder}", *arguments)
    settings = compose_verb("reward_train", reward_train.list_keys(), reward_train.list_groups(), given)
    said = reward_train.take_over(settings, folder / "classifier.safetensors")
    return settings.build(TrainConfig, reward_train.paths()), said


def test_gates_and_confirm_are_those_of_the_classifier_that_is_replaced_unless_given(tmp_path):
    config, said = settled(tmp_path)
    assert (config.gates, config.confirm, said) == ((), TrainConfig(("a",)).confirm, "")
    stored = constant_classifier(CAMERAS, 0.0, gates=("tool.z>0.06", "tool.x<1"), confirm=5)
    (tmp_path / "classifier.safetensors").write_bytes(stored)
    config, said = settled(tmp_path)
    assert (config.gates, config.confirm) == (("tool.z>0.06", "tool.x<1"), 5)
    assert said.startswith("gates=[tool.z>0.06,tool.x<1], confirm=5 as in the classifier")
    config, said = settled(tmp_path, "gates=[]")
    assert (config.gates, config.confirm) == ((), 5)
    assert said.startswith("confirm=5 as in")
    config, said = settled(tmp_path, "gates=[tool.z>0.1]", "confirm=2")
    assert (config.gates, config.confirm, said) == (("tool.z>0.1",), 2, "")


def test_gates_that_cannot_be_read_are_not_dropped(tmp_path):
    (tmp_path / "classifier.safetensors").write_bytes(b"torn")
    with pytest.raises(CommandError, match=r"What it had is unknown: give gates=\[...\] and confirm=, or delete it"):
        settled(tmp_path)


def test_the_training_itself_has_them(tmp_path, capsys):
    stored = constant_classifier(CAMERAS, 0.0, gates=("tool.z>0.06",))
    (tmp_path / "classifier.safetensors").write_bytes(stored)
    (tmp_path / "images" / "success").mkdir(parents=True)
    given = (f"data={tmp_path / 'images'}", f"out={tmp_path}")
    settings = compose_verb("reward_train", reward_train.list_keys(), reward_train.list_groups(), given)
    with pytest.raises(RewardError, match="gates need the state of every frame"):
        reward_train.run(settings)
    assert "gates=[tool.z>0.06], confirm=3 as in the classifier" in capsys.readouterr().out


def trained(data, out, *arguments):
    given = (f"data={data}", f"out={out}", "folds=2", *arguments)
    settings = compose_verb("reward_train", reward_train.list_keys(), reward_train.list_groups(), given)
    return reward_train.run(settings)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, frames = tmp_path_factory.mktemp("images"), square_frames(8, 20)
    for row, (label, episode) in enumerate(zip(frames.labels, frames.episodes, strict=True)):
        for camera in CAMERAS:
            place = folder / label / episode.rpartition("/")[2] / camera.name.rpartition(".")[2]
            place.mkdir(parents=True, exist_ok=True)
            image = cv2.cvtColor(frames.images[camera.name][row], cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(place / f"{frames.indices[row]}.png"), image)
    return folder


def test_a_worse_classifier_does_not_take_the_place_of_a_better_one_of_a_run(images, tmp_path, capsys):
    """No success lasts for the 21 frames that confirm in the second training."""
    (tmp_path / "run.json").write_text("{}")
    out = tmp_path / "reward"
    file, candidate = out / "classifier.safetensors", out / "candidate"
    assert trained(images, out, "max_steps=1") == 0
    assert "Actors of this run take it now" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == [file.name, "report.html", "report.json"]
    good, report = file.read_bytes(), (out / "report.json").read_bytes()

    with pytest.raises(CommandError, match=r"stays as it is: it confirms nothing .* are in .*candidate.* replace=true"):
        trained(images, out, "max_steps=1", "confirm=21")
    said = capsys.readouterr().out
    assert "recall 100.0% (4 of 4, 95 % interval 51.0% to 100.0%) -> unknown" in said
    assert "Old against new on these data" in said
    assert "false positives an hour 0.0 (95 % interval 0.0 to" in said
    assert "take it now" not in said
    assert (file.read_bytes(), (out / "report.json").read_bytes()) == (good, report)
    assert json.loads((candidate / "report.json").read_text())["per_episode"]["success_confirmed"] == 0


def test_a_classifier_that_confirms_nothing_is_not_to_be_used_and_has_its_report(images, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(CommandError, match=r"recall unknown; 4 successes have too few.* confirm=21\): do not"):
        trained(images, out, "max_steps=1", "confirm=21")
    assert "Use it with" not in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["classifier.safetensors", "report.html", "report.json"]


def test_a_refused_training_leaves_no_folder(images, tmp_path):
    few = tmp_path / "few"
    shutil.copytree(images / "failure", few / "failure")
    with pytest.raises(RewardError, match="at least 20 frames of success"):
        trained(few, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_repairs_an_exploitable_classifier_takes_its_place_without_being_asked_to(images, tmp_path, capsys):
    """The one there confirms everything, and its report, made on easy labels, has no word of it."""
    (tmp_path / "classifier.safetensors").write_bytes(constant_classifier(CAMERAS, 8.0))
    assert trained(images, tmp_path, "max_steps=30") == 0
    said = capsys.readouterr().out
    assert re.search(r"precision \S+ \(\d of 8,.* -> 100.0% \(4 of 4", said), said
    assert (tmp_path / "classifier.safetensors").read_bytes() != constant_classifier(CAMERAS, 8.0)


def test_two_trainings_do_not_write_one_candidate(images, tmp_path):
    (tmp_path / "candidate").mkdir()
    held = FolderLock(tmp_path / "candidate")
    with pytest.raises(CommandError, match="another `tandem reward train` writes"):
        trained(images, tmp_path, "max_steps=1")
    held.release()
    assert trained(images, tmp_path, "max_steps=1") == 0
    assert not (tmp_path / "candidate").exists()


def test_a_rate_below_the_interval_of_the_older_one_is_worse():
    def report(recall, precision):
        rates = {
            name: {"value": value, "count": round(20 * value), "of": 20, "interval": [value - 0.2, 1.0]}
            for name, value in (("recall", recall), ("precision", precision))
        }
        return {"per_episode": {"success_confirmed": round(20 * recall), **rates}}

    old = report(0.9, 0.9)
    assert objections(old, report(0.75, 0.75)) == []
    assert objections(None, report(0.1, 0.1)) == []
    (recall,) = objections(old, report(0.6, 1.0))
    assert recall.startswith("its recall of 60.0% (12 of 20")
    assert recall.endswith("lies below the 95 % interval of the one there, 70.0% to 100.0%")
    (precision,) = objections(old, report(0.9, 0.65))
    assert precision.startswith("its precision of 65.0%")
