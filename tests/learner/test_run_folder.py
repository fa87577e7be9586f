import dataclasses
import json

import pytest
import yaml

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from learner.algorithms.sac_config import SACConfig
from learner.replay import ReplayConfig
from learner.run_folder import RunFolderError, default_run_folder, open_run_folder, read_run, save_config


def contract(size: int = 13, stack: int = 1) -> Contract:
    state = Feature("observation.state", "float32", (size,), low=(float("-inf"),), high=(float("inf"),))
    action = Feature("action", "float32", (4,), low=(-1.0,), high=(1.0,))
    return Contract(
        Interface("tests/folder", (state,), action, control_hz=10.0), View((FeatureView(state.name, stack=stack),))
    )


SETTINGS = {"seed": 3, "algorithm": SACConfig(), "replay": ReplayConfig(capacity_gb=2.0)}


def opened(path, contract_=None, *, env="gym", resume="auto", replay_bytes=1000, settings=SETTINGS):
    return open_run_folder(
        path, contract_ or contract(), env=env, resume=resume, replay_bytes=replay_bytes, settings=settings
    )


def test_a_new_folder_and_the_same_one_again(tmp_path):
    made = opened(tmp_path / "run")
    again = opened(tmp_path / "run", replay_bytes=5)
    assert not made.resumed
    assert again.resumed
    assert made.run_id == again.run_id
    assert again.replay_bytes == 1000, "a resumed run must evict the same"
    assert again.contract == contract()
    assert read_run(tmp_path / "run")["task"] == "tests/folder"


def test_a_folder_of_another_contract_is_refused_by_key_expected_and_actual(tmp_path):
    opened(tmp_path / "run")
    with pytest.raises(RunFolderError) as error:
        opened(tmp_path / "run", contract(size=54, stack=3), env="so101_sim")
    text = str(error.value)
    assert "env: expected 'so101_sim', got 'gym'" in text
    assert "observation.state.shape: expected (54,), got (13,); stack: expected 3, got 1" in text
    assert "run=FOLDER" in text


def test_what_takes_less_memory_may_change_when_a_run_is_resumed(tmp_path):
    opened(tmp_path / "run")
    lower = {"algorithm": SACConfig(batch_size=16), "replay": ReplayConfig(capacity_gb=2.0, device="host")}
    assert opened(tmp_path / "run", settings=SETTINGS | lower).resumed


def test_other_settings_than_the_run_was_made_with_are_refused_by_key_expected_and_actual(tmp_path):
    opened(tmp_path / "run")
    other = {"seed": 4, "algorithm": SACConfig(gamma=0.9, hidden=(8,)), "replay": ReplayConfig()}
    with pytest.raises(RunFolderError) as error:
        opened(tmp_path / "run", settings=other)
    assert str(error.value).splitlines()[1:-1] == [
        "  seed: expected 4, got 3",
        "  algorithm.gamma: expected 0.9, got 0.97",
        "  algorithm.hidden: expected [8], got [256, 256]",
        "  replay.capacity_gb: expected None, got 2.0",
    ]
    assert opened(tmp_path / "run").resumed


def test_of_many_settings_that_differ_the_first_are_named(tmp_path):
    opened(tmp_path / "run", settings={f"key_{i}": 0 for i in range(20)})
    with pytest.raises(RunFolderError, match=r"key_7: expected 1, got 0\n  and 12 more\nGo back to what the run has"):
        opened(tmp_path / "run", settings={f"key_{i}": 1 for i in range(20)})


def test_of_a_contract_and_settings_that_differ_all_are_counted(tmp_path):
    first = contract()
    images = tuple(Feature(f"observation.images.{i}", "uint8", (8, 8, 3)) for i in range(10))
    views = tuple(FeatureView(image.name) for image in images)

    def with_images(size):
        interface = dataclasses.replace(
            first.interface, observations=tuple(dataclasses.replace(i, shape=(size, size, 3)) for i in images)
        )
        return Contract(interface, View(views))

    opened(tmp_path / "run", with_images(8))
    with pytest.raises(RunFolderError) as error:
        opened(tmp_path / "run", with_images(16), env="other", settings=SETTINGS | {"seed": 4})
    _, env, *images_named, more, _ = str(error.value).splitlines()
    assert env == "  env: expected 'other', got 'gym'"
    assert len(images_named) == 7
    assert more == "  and 4 more", "three images and the seed"


def without(path, *keys):
    """Takes settings out of a run.json, as if the run was made before they were there."""
    run = json.loads((path / "run.json").read_text())
    for section, key in (key.split(".") for key in keys):
        del run["settings"][section][key]
    (path / "run.json").write_text(json.dumps(run))


def test_settings_that_came_later_take_their_defaults_and_are_kept_from_then_on(tmp_path):
    run = opened(tmp_path / "run")
    without(run.path, "algorithm.takeover_discount", "replay.cut_at_takeover")
    again = opened(run.path)
    assert again.resumed
    assert again.run_id == run.run_id
    assert again.added == ("algorithm.takeover_discount=1.0", "replay.cut_at_takeover=True")
    assert read_run(run.path)["settings"]["algorithm"]["takeover_discount"] == 1.0
    assert opened(run.path).added == ()


def test_a_setting_that_came_later_is_refused_with_another_value_than_its_default(tmp_path):
    run = opened(tmp_path / "run")
    without(run.path, "algorithm.takeover_discount")
    before = (run.path / "run.json").read_bytes()
    with pytest.raises(RunFolderError, match=r"algorithm\.takeover_discount: expected 0\.5, got 1\.0\nGo back"):
        opened(run.path, settings=SETTINGS | {"algorithm": SACConfig(takeover_discount=0.5)})
    assert (run.path / "run.json").read_bytes() == before


@pytest.mark.parametrize("value", [0.5, None])
def test_a_setting_that_is_no_more_is_refused_by_its_name(tmp_path, value):
    run = opened(tmp_path / "run")
    stored = read_run(run.path)
    stored["settings"]["algorithm"]["bygone"] = value
    (run.path / "run.json").write_text(json.dumps(stored))
    with pytest.raises(
        RunFolderError, match=rf"algorithm\.bygone: the run has {value}, and this version of Tandem has no such setting"
    ):
        opened(run.path)


def test_resume_says_what_is_expected_to_be_there(tmp_path):
    with pytest.raises(RunFolderError, match=r"resume=must, and .* holds no run"):
        opened(tmp_path / "run", resume="must")
    opened(tmp_path / "run", resume="never")
    with pytest.raises(RunFolderError, match=r"resume=never, and .* holds a run"):
        opened(tmp_path / "run", resume="never")
    assert opened(tmp_path / "run", resume="must").resumed


def test_a_folder_that_is_no_run_is_not_taken(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "segment-000000.log").write_bytes(b"x")
    with pytest.raises(RunFolderError, match=r"holds a log and no run\.json"):
        opened(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(RunFolderError, match=r"must have format 'tandem\.run\.v1'\. Got: 'other'"):
        opened(tmp_path)


def test_versions_reserved_are_never_published_again(tmp_path):
    folder = opened(tmp_path / "run")
    assert folder.next_version() == 0
    below = folder.reserve_versions(1)
    assert below > 1
    assert opened(tmp_path / "run").next_version() == below


def test_the_resolved_config_is_plain_yaml(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Inner:
        hidden: tuple[int, ...] = (256, 256)

    folder = opened(tmp_path / "run")
    save_config(folder, {"inner": Inner(), "run": "", "capacity": None})
    assert yaml.safe_load((folder.path / "config.yaml").read_text()) == {
        "inner": {"hidden": [256, 256]},
        "run": "",
        "capacity": None,
    }


def test_the_default_folder_has_no_slash_of_the_task():
    assert default_run_folder("gym/Pendulum-v1").name.startswith("gym-Pendulum-v1-")
