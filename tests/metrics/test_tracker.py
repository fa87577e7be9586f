"""Trackers, for real: wandb offline is read back from its file, trackio from its database."""

import importlib.util
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time

import pytest

from metrics import names
from metrics.tracker import describe_tracker, make_tracker
from metrics.wandb_tracker import logged_in


@pytest.fixture
def nobody_logged_in(monkeypatch, tmp_path):
    for variable in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_PROJECT", "NETRC"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "home" / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "home" / "cache"))


def feed(tracker, start=0):
    for i in range(start, start + 5):
        tracker.log({names.SUCCESS_RATE: i / 10, names.CRITIC_LOSS: 1.0 / (i + 1)}, env_steps=10 * i, updates=20 * i)


def wandb_payloads(data):
    """Payloads of a .wandb file: a 7-byte header, then a LevelDB log of 32 KiB blocks."""
    assert data[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def read_wandb(file):
    from wandb.proto import wandb_internal_pb2 as pb

    rows, axes, run_id = [], {}, None
    for data in wandb_payloads(file.read_bytes()):
        record = pb.Record.FromString(data)
        if record.HasField("history"):
            items = record.history.item
            rows.append({(i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in items})
        if record.HasField("metric"):
            axes[record.metric.name] = record.metric.step_metric
        if record.HasField("run"):
            run_id = record.run.run_id
    return rows, axes, run_id


def test_wandb_offline_is_readable_back(tmp_path, nobody_logged_in):
    tracker = make_tracker("wandb", tmp_path, run_id="0123abcd", name="test", config={"seed": 3})
    feed(tracker)
    tracker.finish(60)
    (file,) = (tmp_path / "wandb").glob("offline-run-*-0123abcd/run-0123abcd.wandb")
    rows, axes, run_id = read_wandb(file)
    assert run_id == "0123abcd"
    assert [row["success_rate"] for row in rows] == [i / 10 for i in range(5)]
    assert [(row["env_steps"], row["updates"]) for row in rows] == [(10 * i, 20 * i) for i in range(5)]
    assert axes["success_rate"] == "env_steps"
    assert axes["critic_loss"] == "updates"
    assert describe_tracker(tmp_path) == f"wandb, offline: wandb sync {file.parent}"


def test_a_resumed_run_keeps_its_id_and_names_all_its_folders(tmp_path, nobody_logged_in):
    for start in (0, 5):
        tracker = make_tracker("wandb", tmp_path, run_id="0123abcd", name="test", config={})
        feed(tracker, start)
        tracker.finish(60)
        time.sleep(1.1)  # wandb names its folders by the second
    files = sorted((tmp_path / "wandb").glob("offline-run-*-0123abcd/run-0123abcd.wandb"))
    assert [row["env_steps"] for file in files for row in read_wandb(file)[0]] == [10 * i for i in range(10)]
    assert describe_tracker(tmp_path) == f"wandb, offline: wandb sync {tmp_path}/wandb/offline-run-*-0123abcd"


def test_every_learning_metric_has_a_known_name():
    from metrics.wandb_tracker import LEARNING_METRICS

    assert set(LEARNING_METRICS) <= set(names.BY_NAME)


def test_logged_in_by_environment_or_netrc(tmp_path, nobody_logged_in, monkeypatch):
    assert not logged_in()
    file = tmp_path / "netrc"
    file.write_text("machine api.wandb.ai\n  login user\n  password " + "0" * 40 + "\n")
    monkeypatch.setenv("NETRC", str(file))
    assert logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not logged_in()


@pytest.mark.skipif(importlib.util.find_spec("trackio") is None, reason="the extra trackio is not installed")
def test_trackio_has_a_live_page_and_keeps_what_was_logged(tmp_path, monkeypatch):
    import urllib.request

    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    tracker = make_tracker("trackio", tmp_path, run_id="0123abcd", name="test", config={}, project="unit")
    feed(tracker)
    deadline = time.monotonic() + 60
    while "http://" not in describe_tracker(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    url = describe_tracker(tmp_path).removeprefix("trackio: ")
    with urllib.request.urlopen(url, timeout=20) as page:
        assert page.status == 200
    tracker.finish(30)
    (database,) = (tmp_path / "trackio").glob("*.db")
    connection = sqlite3.connect(database)
    rows = [json.loads(row[0]) for row in connection.execute("SELECT metrics FROM metrics ORDER BY step")]
    connection.close()
    assert [row["success_rate"] for row in rows] == [i / 10 for i in range(5)]
    assert [row["updates"] for row in rows] == [20 * i for i in range(5)]


def test_a_full_disk_is_said_once_and_stops_nothing(tmp_path, nobody_logged_in, capfd):
    (tmp_path / "wandb").write_text("a file where wandb wants a folder")
    (tmp_path / "tracker.json").mkdir()
    tracker = make_tracker("wandb", tmp_path, run_id="0123abcd", name="test", config={})
    tracker._process.wait(60)
    feed(tracker)
    feed(tracker)
    tracker.finish(5)
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("tracker=")]
    assert len(said) == 1
    assert said[0].startswith("tracker=wandb stopped: ")
    assert tracker.fault == "tracker=wandb stopped; its reason is in the learner's output"
    assert said[0].endswith("Learning goes on; all metrics are in metrics.jsonl.")


def test_a_killed_process_is_said_once_and_kept_as_the_fault(tmp_path, nobody_logged_in, capfd):
    tracker = make_tracker("wandb", tmp_path, run_id="0123abcd", name="test", config={})
    feed(tracker)
    assert tracker.fault == ""
    os.kill(tracker._process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not tracker.fault and time.monotonic() < deadline:
        time.sleep(0.05)
    assert tracker.fault == "tracker=wandb stopped: its process was killed by signal 9"
    feed(tracker)
    tracker.finish(5)
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("tracker=")]
    assert said == [f"{tracker.fault}. Learning goes on; all metrics are in metrics.jsonl."]


def test_a_process_killed_at_the_end_is_said_too(tmp_path, nobody_logged_in, capfd):
    tracker = make_tracker("wandb", tmp_path, run_id="0123abcd", name="test", config={})
    tracker._process.send_signal(signal.SIGSTOP)
    killer = threading.Timer(0.5, tracker._process.kill)
    killer.start()
    tracker.finish(20)
    killer.join()
    assert "its process was killed by signal 9" in capfd.readouterr().err


def test_an_unreachable_server_gives_an_offline_run(tmp_path, nobody_logged_in, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "3")
    tracker = make_tracker("wandb", tmp_path, run_id="0123abcd", name="test", config={})
    feed(tracker)
    tracker.finish(90)
    (file,) = (tmp_path / "wandb").glob("offline-run-*-0123abcd/run-0123abcd.wandb")
    assert len(read_wandb(file)[0]) == 5
    assert "wandb could not be reached" in describe_tracker(tmp_path)


def test_a_stuck_tracker_blocks_neither_log_nor_finish(tmp_path, nobody_logged_in, capfd):
    tracker = make_tracker("wandb", tmp_path, run_id="0123abcd", name="test", config={})
    tracker._process.send_signal(signal.SIGSTOP)
    for i in range(3000):  # more than a pipe holds
        tracker.log({"q_mean": 0.0}, i, i)
    tracker.finish(0.2)
    assert "lines behind" in capfd.readouterr().err
    os.kill(tracker._process.pid, signal.SIGKILL)


def test_the_run_is_kept_when_the_learner_is_killed(tmp_path, nobody_logged_in):
    code = (
        "import os, pathlib, sys, time\n"
        "from metrics.tracker import make_tracker\n"
        "tracker = make_tracker('wandb', pathlib.Path(sys.argv[1]), run_id='0123abcd', name='test', config={})\n"
        "tracker.log({'q_mean': 0.5}, 1, 2)\n"
        "time.sleep(0.5)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    deadline = time.monotonic() + 60
    rows = []
    while not rows and time.monotonic() < deadline:
        time.sleep(0.5)
        files = list((tmp_path / "wandb").glob("offline-run-*/run-0123abcd.wandb"))
        rows = read_wandb(files[0])[0] if files and files[0].stat().st_size > 7 else []
    assert [row["q_mean"] for row in rows] == [0.5]


def test_an_unknown_tracker_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"tracker must be one of \('wandb', 'trackio', 'none'\). Got: 'tensorboard'"):
        make_tracker("tensorboard", tmp_path, run_id="x", name="x", config={})
