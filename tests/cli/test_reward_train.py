"""What `tandem reward train` takes over from the classifier that it replaces."""

import pytest

from cli import reward_train
from cli.composition import compose_verb
from cli.errors import CommandError
from reward.config import RewardError
from reward.training import TrainConfig
from tests.reward.squares import CAMERAS, constant_classifier


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
