"""An existing run folder gives the settings; the command line says what is to be other."""

import dataclasses
import json
import os
import re
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

from cli import demo, learner
from cli.composition import compose_verb
from cli.errors import CommandError, UsageError
from episodes.disk import DiskError
from episodes.log import LogError
from episodes.log_lock import FolderLock
from learner.checkpoint import CheckpointError
from learner.config import ConfigError
from learner.resuming import DEMO_SETTINGS
from learner.run_folder import plain

MODULES = {"learner": learner, "demo": demo}
GIVEN = ("seed=3", "env.task=reach", "algorithm.gamma=0.9", "algorithm.hidden=[64,64]", "stop.max_env_steps=77")


def compose(verb, *arguments):
    module = MODULES[verb]
    return compose_verb(verb, module.list_keys(), module.list_groups(), arguments, module.stored_values)


@pytest.fixture
def folder(tmp_path):
    """Of a run that a learner started with GIVEN."""
    config = learner.learner_config(compose("learner", f"run={tmp_path}", "learner.address=127.0.0.1:5", *GIVEN))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain(config)))
    return tmp_path


def test_a_learner_goes_on_with_what_it_ran_with(folder):
    config = learner.learner_config(compose("learner", f"run={folder}"))
    then = learner.learner_config(compose("learner", f"run={folder}", *GIVEN))
    assert config == then
    assert config.algorithm.hidden == (64, 64)
    assert config.address == "127.0.0.1:5"


def test_a_learner_goes_on_where_its_actors_wait_and_with_the_token_they_have(tmp_path):
    given = ("learner.address=0.0.0.0:6000", "learner.tls=mutual", "learner.token_path=mine")
    config = learner.learner_config(compose("learner", f"run={tmp_path}", *given, *GIVEN))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain(config)))
    again = learner.learner_config(compose("learner", f"run={tmp_path}"))
    assert (again.address, again.tls, again.token_path) == ("0.0.0.0:6000", "mutual", "mine")
    assert learner.learner_config(compose("learner", f"run={tmp_path}", "learner.token_path=")).token_path == ""
    (tmp_path / DEMO_SETTINGS).write_text("{}")
    by_hand = learner.learner_config(compose("learner", f"run={tmp_path}"))
    assert (by_hand.address, by_hand.token_path) == ("127.0.0.1:50051", ""), "those of a demo are the demo's"


def test_the_command_line_wins_over_the_folder(folder):
    settings = compose("learner", f"run={folder}", "stop.max_env_steps=0", "seed=0")
    assert (settings["stop.max_env_steps"], settings["seed"]) == (0, 0)
    assert settings.configs["env"].task == "reach"


def test_another_environment_takes_nothing_of_the_old_one(folder):
    settings = compose("learner", f"run={folder}", "env=gym")
    assert settings.choices["env"] == "gym"
    assert settings.configs["env"].id == "Pendulum-v1"


def test_a_demo_goes_on_with_what_it_ran_with(folder):
    settings = compose("demo", f"run={folder}")
    assert (settings["seed"], settings["obs"], settings.configs["env"].task) == (3, "state", "reach")
    assert not settings["stop.when_autonomous"]  # the learner's, not the demo's default


def test_a_demo_keeps_its_own_settings_and_those_from_before_its_learner_started(tmp_path):
    given = (f"run={tmp_path}", "operator=none", "demonstrations=0", "final_episodes=7", "env.task=reach", "seed=4")
    (tmp_path / DEMO_SETTINGS).write_text(json.dumps(demo._all_values(compose("demo", *given))))
    again = compose("demo", f"run={tmp_path}")
    assert again.configs == compose("demo", *given).configs
    assert again.values == compose("demo", *given).values
    assert compose("demo", f"run={tmp_path}", "operator=scripted")["operator"] == "scripted"


def test_a_demo_hands_on_what_differs_from_the_folder(folder):
    arguments = demo.learner_arguments(compose("demo", f"run={folder}", "stop.max_env_steps=0"))
    assert arguments == ["env=so101_sim", "algorithm=sac", "stop.max_env_steps=0"]
    assert "seed=0" in demo.learner_arguments(compose("demo", f"run={folder}", "seed=0"))


def test_a_run_of_another_environment_is_no_demo(tmp_path):
    config = learner.learner_config(compose("learner", f"run={tmp_path}", "env=gym"))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain(config)))
    with pytest.raises(UsageError, match=r"env must be one of so101_sim\. Got: 'gym'"):
        compose("demo", f"run={tmp_path}")


@pytest.mark.parametrize("text", ["acting: 3", "[1, 2]", "{", "env: gym"])
def test_a_config_that_cannot_be_read_is_named(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(CommandError, match=r"config\.yaml cannot be used: "):
        compose("learner", f"run={tmp_path}")


def test_a_new_folder_has_the_defaults(tmp_path):
    assert compose("demo", f"run={tmp_path / 'new'}").values["seed"] == demo.DemoConfig().seed


@pytest.mark.parametrize(("given", "typed"), [((), "demo"), (("SEED=2", "RUN=x"), "demo seed=2 run='x'")])
def test_make_demo_passes_on_only_what_was_given(given, typed):
    root = Path(__file__).resolve().parents[2]
    command = ["make", "--no-print-directory", "-n", "-o", ".venv/.ready", "demo", *given]
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    said = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=True).stdout
    assert " ".join(said.strip().splitlines()[-1].split()) == f".venv/bin/tandem {typed}"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["obs=proprio"], "env.task=lift: the cube is not in it. Use obs=pixels or obs=state"),
        (["obs=proprio", "env.task=insert"], "env.task=insert: the cube is not in it"),
    ],
)
def test_observations_that_cannot_be_learned_from_are_refused_at_once(tmp_path, given, text):
    folder = tmp_path / "run"
    with pytest.raises(UsageError, match=text):
        demo.run(compose("demo", f"run={folder}", *given))
    assert not folder.exists()


def nothing_is_written(folder, error, text, *given):
    """A demo in ``folder`` is refused with ``text``, and leaves the folder as it is, but for its lock."""

    def files():
        return sorted(set(folder.rglob("*")) - {folder / "lock"}) if folder.exists() else None

    before = files()
    with pytest.raises(error, match=text):
        demo.run(compose("demo", f"run={folder}", *given))
    assert files() == before


def test_a_run_that_is_not_a_demos_is_refused_before_anything_is_written(folder):
    (folder / "run.json").write_text("{}")
    text = rf"run that is not a demo's: go on with it by tandem learner run={folder}, or name another folder"
    nothing_is_written(folder, CommandError, text)


def test_a_demo_that_runs_is_refused_before_anything_is_written(folder, monkeypatch):
    monkeypatch.setattr(demo, "EARLIER_ENDS_S", 0.3)
    (folder / "log").mkdir()
    for name in ("run.json", DEMO_SETTINGS):
        (folder / name).write_text("{}")
    lock = FolderLock(folder / "log")
    nothing_is_written(folder, LogError, rf"being written by another process \(pid {os.getpid()}\)")
    lock.release()


def test_a_demo_that_records_is_refused_and_keeps_its_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "EARLIER_ENDS_S", 0.3)
    lock = FolderLock(tmp_path)
    (tmp_path / DEMO_SETTINGS).write_text('{"seed": 0}')
    nothing_is_written(tmp_path, LogError, rf"{tmp_path} is being written by another process", "seed=7")
    assert (tmp_path / DEMO_SETTINGS).read_text() == '{"seed": 0}'
    lock.release()


@pytest.mark.parametrize("held", [".", "log"])
def test_a_demo_waits_for_an_earlier_start_and_for_the_learner_it_left_and_says_so(folder, capsys, held):
    (folder / "log").mkdir()
    lock = FolderLock(folder / held)
    threading.Timer(0.5, lock.release).start()
    taken = demo._take(folder)
    assert capsys.readouterr().out == "waiting for an earlier start of this demo to end\n"
    with pytest.raises(LogError):
        FolderLock(folder)
    FolderLock(folder / "log").release()
    taken.release()
    demo._take(folder).release()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("evaluation.every_env_steps=0",), "stop.when_autonomous needs evaluations"),
        (("replay.cut_at_takeover=false", "algorithm.takeover_discount=0.8"), "algorithm.takeover_discount=0.8 counts"),
        (("stop.cycle_ratio=-1",), "stop.cycle_ratio must be positive"),
    ],
)
def test_what_the_learner_refuses_is_refused_before_anything_is_written(tmp_path, given, text):
    nothing_is_written(tmp_path / "run", UsageError, text, *given)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ("replay.capacity_gb=100000", ConfigError, "replay may take 100000.0 GB of memory"),
        ("learner.device=mps", ConfigError, "torch finds no MPS device"),
        ("policy.pretrained=nothing", CheckpointError, "policy.pretrained=nothing is neither"),
        ("stop.max_env_steps=1000000000", DiskError, "0 steps (stop.max_env_steps)"),
    ],
)
def test_what_takes_torch_to_tell_is_refused_while_a_demo_records(tmp_path, given, error, text):
    config = learner.learner_config(compose("learner", f"run={tmp_path / 'run'}", "env.obs=state", given))
    with pytest.raises(error, match=re.escape(text)):
        learner.check_settings(config)
    assert not (tmp_path / "run").exists()


def test_too_small_a_disk_is_said_before_anything_is_written(tmp_path):
    nothing_is_written(tmp_path / "run", DiskError, r"0 steps \(stop.max_env_steps\)", "stop.max_env_steps=1000000000")


def test_every_setting_is_stored_and_found_again(folder):
    stored = learner.stored_values(folder)
    keys = {key.path for key in learner.list_keys()} - {*learner.OF_ONE_START}
    for name, config in compose("learner", f"run={folder}").configs.items():
        keys |= {f"{name}.{f.name}" for f in dataclasses.fields(config)} | {name}
    assert keys - set(stored) <= {"env.name"}


def test_a_run_made_before_a_setting_existed_is_read_all_the_same(folder):
    file = folder / "config.yaml"
    config = yaml.safe_load(file.read_text())
    del config["acting"]["exploration_share"], config["stop"]
    file.write_text(yaml.safe_dump(config))
    stored = learner.stored_values(folder)
    assert "seed" in stored
    assert not any("exploration_share" in key or key.startswith("stop.") for key in stored)
