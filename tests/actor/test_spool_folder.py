"""Where spools live, and that two actors never share one."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from actor.spool import SpoolError
from actor.spool_folder import SpoolFolder, _process_space, lock
from episodes.contract import Contract, Feature, FeatureView, Interface, View
from transport import records_pb2 as pb

CONTRACT = Contract(
    Interface("tests/folder", (Feature("observation.state", "float32", (1,)),), Feature("action", "float32", (1,))),
    View((FeatureView("observation.state"),)),
)


@pytest.fixture
def folders(tmp_path):
    """Makes locked folders below tmp_path and closes them at the end."""
    made = []

    def make(name):
        made.append(SpoolFolder(tmp_path, name))
        return made[-1]

    yield make
    for folder in made:
        folder.close()


def test_one_process_holds_a_name(folders, tmp_path):
    held = folders("arm")
    code = (
        f"from actor.spool_folder import SpoolFolder; from pathlib import Path; SpoolFolder(Path({str(tmp_path)!r}), "
    )
    second = subprocess.run([sys.executable, "-c", code + "'arm')"], capture_output=True, text=True)
    assert f"another actor named 'arm' runs on this machine (pid {os.getpid()}) and holds" in second.stderr
    assert "actor.name=NAME" in second.stderr
    held.close()
    assert subprocess.run([sys.executable, "-c", code + "'arm')"], capture_output=True).returncode == 0


def test_the_host_name_is_numbered_where_it_is_taken(folders, tmp_path):
    first, second = folders(""), folders("")
    assert second.name == f"{first.name}-2"


@pytest.mark.parametrize("name", ["../up", "a b", "", ".hidden"])
def test_names_are_plain(folders, tmp_path, name):
    folder = folders("arm")
    if name:
        with pytest.raises(SpoolError, match=r"an actor's name must be"):
            folders(name)
    with pytest.raises(SpoolError, match=r"no plain name"):
        folder.open(name or "a/b", CONTRACT, 1)


def test_a_spool_of_another_run_is_kept_and_named(folders, tmp_path):
    folder = folders("arm")
    spool, said = folder.open("run-a", CONTRACT, 1)
    assert said == ""
    assert folder.others("run-a") == []
    spool.start_episode(pb.EpisodeStart(episode_id="0" * 32, purpose=pb.PURPOSE_TRAINING, observation=[bytes(4)]))
    spool.close()
    other, _ = folder.open("run-b", CONTRACT, 1)
    assert other.produced == 0
    (line,) = folder.others("run-b")
    assert "1 records of run run-a wait in" in line
    flush = f"tandem actor learner.address=HOST:PORT flush=true actor.name=arm actor.spool={tmp_path}"
    assert f"To deliver them to that run's learner: {flush}. " in line
    assert line.endswith(f"To drop them for good, delete {tmp_path / 'arm' / 'run-a'}")
    again, said = folder.open("run-a", CONTRACT, 1)
    assert said == "episode 00000000 was cut after 0 steps"
    assert again.spool_id == spool.spool_id
    assert again.undelivered == 2


def test_a_spool_of_another_name_is_named_unless_its_actor_runs(folders):
    other = folders("leg")
    spool, _ = other.open("run-a", CONTRACT, 1)
    spool.amend(pb.Amendment(episode_id="0" * 32))
    folder = folders("arm")
    assert folder.others("run-a") == []
    other.close()
    (line,) = folder.others("run-a")
    assert "1 records of run run-a wait in" in line
    assert "tandem actor learner.address=HOST:PORT flush=true actor.name=leg actor.spool=" in line


@pytest.mark.parametrize("written", ["", "unknown", "{ended}", "{ended} {space}", "{living}", "{living} elsewhere"])
def test_takeover_signals_no_process_that_may_be_another(folders, tmp_path, monkeypatch, written):
    monkeypatch.setattr("actor.spool_folder.ENDING_WAIT_S", 0.1)
    ended = subprocess.Popen(["true"])
    ended.wait()
    folders("arm")
    with subprocess.Popen(["sleep", "60"]) as living:
        pids = {"ended": ended.pid, "living": living.pid, "space": _process_space()}
        (tmp_path / "arm" / "lock").write_text(written.format(**pids))
        with pytest.raises(SpoolError, match=r"which did not end it: it may run in another container or on another"):
            SpoolFolder(tmp_path, "arm", takeover=True)
        assert living.poll() is None
        living.kill()


def test_a_spool_of_another_interface_is_refused(folders, tmp_path):
    folder = folders("arm")
    folder.open("run-a", CONTRACT, 1)[0].close()
    changed = replace(CONTRACT, interface=replace(CONTRACT.interface, task="tests/other"))
    with pytest.raises(SpoolError, match=r"Move the folder away to start a new spool"):
        folder.open("run-a", changed, 1)


def test_a_living_control_process_is_not_overtaken(folders, tmp_path, monkeypatch):
    folder = folders("arm")
    folder.open("run-a", CONTRACT, 1)[0].close()
    held = lock(tmp_path / "arm" / "run-a" / "control.lock")
    monkeypatch.setattr("actor.spool_folder.CONTROL_WAIT_S", 0.1)
    with pytest.raises(SpoolError, match=rf"control process of an earlier actor still runs \(pid {os.getpid()}\)"):
        folder.open("run-a", CONTRACT, 1)
    held.close()


def test_a_full_disk_is_named(folders, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    folder = folders("arm")
    with pytest.raises(SpoolError, match=r"no room for a spool of .* MB in .*: No space left on device. Free some"):
        folder.open("run-a", CONTRACT, 1)
