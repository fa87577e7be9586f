"""The page of `tandem label` over real HTTP: token, frames, labels that stay, outcomes that change."""

import json
import shutil
import subprocess
import threading
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest

from cli.label import Amender
from envs.registry import derive_contract
from envs.so101_interface import SO101SimConfig
from episodes.contract_file import save_contract
from episodes.layout import ObservationLayout
from episodes.log import EpisodeLog, read_log
from learner.service_file import write_service_file
from reward.config import RewardError
from reward.label_server import LabelServer
from reward.labelling import Labelling
from reward.labels import read_labels
from tests.actor.bench import TOKEN, Bench, wait_for
from transport import records_pb2 as pb

CONTRACT = derive_contract("so101_sim", SO101SimConfig(obs="pixels", image_width=24, image_height=16))
IDS = ("a" * 32, "b" * 32)


@pytest.fixture
def folder(tmp_path):
    """Two episodes of three steps, taken for successes by a classifier."""
    save_contract(tmp_path / "contract.json", CONTRACT)
    layout = ObservationLayout(CONTRACT.stored)

    def items(value):
        return layout.pack({f.name: np.full(f.shape, value, f.dtype) for f in CONTRACT.stored})

    records = []
    for number, episode in enumerate(IDS):
        first = pb.EpisodeStart(episode_id=episode, purpose=pb.PURPOSE_TRAINING, observation=items(40 * number))
        records.append(pb.Record(start=first))
        for index in range(3):
            rewards = [pb.Reward(source="score:a@1", value=0.25 * (index + 1))]
            step = pb.Step(episode_id=episode, index=index, observation=items(40 * number + index + 1), rewards=rewards)
            step.proposed[:] = step.chosen[:] = step.sent[:] = [0.0] * 4
            records.append(pb.Record(step=step))
        end = pb.EpisodeEnd(episode_id=episode, outcome=pb.OUTCOME_SUCCESS, author="classifier:a@1", steps=3)
        records.append(pb.Record(end=end))
    fingerprint = CONTRACT.interface_fingerprint
    with EpisodeLog(tmp_path / "log", run_id="r", interface_fingerprint=fingerprint, sync="os") as log:
        for sequence, record in enumerate(records, start=1):
            record.sequence = sequence
            log.append([pb.LogEntry(spool_id="s", actor="arm", record=record).SerializeToString()])
    return tmp_path


@pytest.fixture
def call(folder):
    server = LabelServer(Labelling(folder, Amender(folder).amend))
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    address, token = server.url.split("/?token=")

    def ask(path, body=None, token=token, host=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-Tandem-Token": token} | ({"Host": host} if host else {})
        with urllib.request.urlopen(urllib.request.Request(address + path, data, headers), timeout=30) as answer:
            return answer.read()

    ask.address, ask.token = address, token
    yield ask
    server.stop()
    server.close()


def test_the_page_listens_on_loopback_and_answers_only_who_has_its_address(call):
    assert call.address.startswith("http://localhost:")
    assert b"<title>Tandem: label</title>" in call("/")
    for settings in ({"token": "guess"}, {"host": "evil.example:80"}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            call("/api/episodes", **settings)
        with refused.value as answer:
            assert answer.code == 403


def test_frames_are_shown_and_labels_stay_for_the_next_time(call, folder):
    found = json.loads(call("/api/episodes"))
    assert [(e["id"], e["frames"], e["outcome"], e["score"]) for e in found["episodes"]] == [
        (episode, 4, "success", 0.75) for episode in IDS
    ]
    image = cv2.imdecode(np.frombuffer(call(f"/api/frame/{IDS[1]}/2.jpg"), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (320, 960, 3)
    assert abs(int(image[100, 100, 0]) - 42) <= 2
    call(f"/api/labels/{IDS[0]}", {"labels": ["failure", "almost", "", "success"], "finished": True})
    again = Labelling(folder, Amender(folder).amend)
    (first, second) = again.episodes()["episodes"]
    assert (first["finished"], first["labelled"], second["finished"]) == (True, 3, False)
    assert again.episode(IDS[0])["labels"] == ["failure", "almost", "", "success"]
    assert read_labels(folder)[IDS[0]].of_frames(4) == ["failure", "almost", "", "success"]


def test_a_changed_outcome_is_a_later_entry_of_the_log_and_labels_the_frames(call, folder):
    call(f"/api/amend/{IDS[0]}", {"outcome": "failure", "step": 2})
    *_, last = (entry.record for _, entry in read_log(folder / "log"))
    assert (last.amendment.episode_id, last.amendment.outcome) == (IDS[0], pb.OUTCOME_FAILURE)
    assert json.loads(call("/api/episodes"))["episodes"][0]["outcome"] == "failure"
    assert json.loads(call(f"/api/episode/{IDS[0]}"))["labels"] == ["wrong"] * 4


def test_the_sums_are_of_what_is_learned_from_labels_and_verdicts(call):
    def sums():
        return {name: count for name, count in json.loads(call("/api/episodes"))["counts"].items() if count}

    assert sums() == {}
    call(f"/api/labels/{IDS[0]}", {"labels": ["failure", "almost", "", "success"], "finished": True})
    assert sums() == {"failure": 1, "almost": 1, "success": 1}
    call(f"/api/amend/{IDS[0]}", {"outcome": "failure", "step": 2})
    assert sums() == {"wrong": 4}
    call(f"/api/amend/{IDS[0]}", {"outcome": "discarded", "step": 2})
    assert sums() == {}


def test_recordings_are_no_run(folder):
    def is_run():
        return Labelling(folder, Amender(folder).amend).episodes()["run"]

    assert is_run()
    entries = [entry for _, entry in read_log(folder / "log")]
    shutil.rmtree(folder / "log")
    with EpisodeLog(folder / "log", run_id="r", interface_fingerprint=CONTRACT.interface_fingerprint) as log:
        for entry in entries:
            if entry.record.HasField("start"):
                entry.record.start.purpose = pb.PURPOSE_DEMONSTRATION
            log.append([entry.SerializeToString()])
    assert not is_run()


def test_the_log_is_read_once_however_often_the_page_asks(call, folder, monkeypatch):
    read = []

    def counting(*args, **settings):
        for found in read_log(*args, **settings):
            read.append(found)
            yield found

    monkeypatch.setattr("reward.labelling.read_log", counting)
    monkeypatch.setattr("reward.sources.read_log", counting)
    call("/api/episodes")
    assert len(read) == 10
    call("/api/episodes")
    call(f"/api/episode/{IDS[0]}")
    assert len(read) == 10
    call(f"/api/amend/{IDS[0]}", {"outcome": "failure", "step": 2})
    assert json.loads(call("/api/episodes"))["episodes"][0]["labelled"] == 4
    assert json.loads(call(f"/api/episode/{IDS[0]}"))["labels"] == ["wrong"] * 4
    assert len(read) == 11


@pytest.mark.skipif(not shutil.which("node"), reason="no node here, which runs the page's script")
def test_the_page_opens_at_the_newest_of_a_run_and_stays_with_an_episode_that_could_not_be_saved(call, folder):
    """The page's own script in node against the real server; a folder in the way of labels.jsonl fails the save."""
    call(f"/api/amend/{IDS[0]}", {"outcome": "discarded", "step": 2})
    call(f"/api/labels/{IDS[0]}", {"labels": ["almost"] * 4, "finished": False})
    page = call("/").decode()
    script = page[page.index("<script>") + 8 : page.index("</script>")]
    done = subprocess.run(
        ["node", "-e", _PAGE_IN_NODE, call.address, call.token, str(folder / "labels.jsonl"), script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    opened, failed, saved, named, unknown = json.loads(done.stdout)
    assert opened["where"].startswith("Episode 2 of 2 (success by classifier)")
    assert opened["rows"] == ["1. near miss", "2. success by classifier"]
    assert failed["said"].startswith("nothing was saved: [Errno 21] Is a directory")
    assert "Episode 1 of 2" in failed["where"]
    assert saved["said"].startswith("Done with episode 1")
    assert "Episode 2 of 2" in saved["where"]
    assert named["where"].startswith("Episode 1 of 2")
    assert ", frame 2 of 3: almost" in named["where"]
    assert unknown["said"] == "No episode nobody here."


_PAGE_IN_NODE = """
const [address, token, file, script] = process.argv.slice(1), fs = require("fs"), fetched = fetch, parts = {};
const made = () => ({ style: {}, append() {}, replaceChildren(...rows) { this.rows = rows; },
  getContext: () => new Proxy({}, { get: () => () => {}, set: () => true }) });
let press;
globalThis.location = { search: "?token=" + token, hash: "" };
globalThis.fetch = (path, settings) => fetched(address.replace("localhost", "127.0.0.1") + path, settings);
globalThis.document = { getElementById: id => parts[id] ??= made(), createElement: made, querySelector: () => null,
  addEventListener: (_, act) => { press = act; } };
const until = async holds => { while (!holds()) await new Promise(done => setTimeout(done, 10)); };
const enter = async () => { await press({ key: "Enter", preventDefault() {} }); };
const shown = () => ({ said: parts.said?.textContent, where: parts.where.textContent,
  rows: parts.list.rows.map(row => row.textContent) });
(async () => {
  eval(script);
  await until(() => parts.where?.textContent);
  const opened = shown();
  await press({ key: "ArrowUp", preventDefault() {} });
  fs.renameSync(file, file + ".kept");
  fs.mkdirSync(file);
  await enter();
  await until(() => parts.said.textContent);
  const failed = shown();
  fs.rmdirSync(file);
  fs.renameSync(file + ".kept", file);
  await enter();
  await until(() => parts.where.textContent.startsWith("Episode 2"));
  const saved = shown();
  location.hash = "#" + "a".repeat(32) + "/2";
  onhashchange();
  await until(() => parts.where.textContent.includes("frame 2"));
  const named = shown();
  location.hash = "#nobody/1";
  onhashchange();
  await until(() => parts.said.textContent.includes("nobody"));
  console.log(JSON.stringify([opened, failed, saved, named, shown()]));
  process.exit(0);
})().catch(error => { console.error(error); process.exit(1); });
"""


@pytest.mark.parametrize(
    ("path", "body", "code", "text"),
    [
        ("/api/frame/" + IDS[0] + "/9.jpg", None, 404, "frames 0 to 3"),
        ("/api/labels/" + IDS[0], {"labels": ["success"], "finished": True}, 400, "labels must be 4"),
        ("/api/labels/" + IDS[0], {"labels": ["yes"] * 4, "finished": True}, 400, "a label must be one of"),
        ("/api/amend/" + IDS[0], {"outcome": "timeout", "step": 0}, 400, "outcome must be one of"),
        ("/api/nothing", None, 404, "no page"),
    ],
)
def test_wrong_requests_are_refused_in_words(call, path, body, code, text):
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(path, body)
    with refused.value as answer:
        assert answer.code == code
        assert text in json.loads(answer.read())["error"]


def test_a_changed_outcome_of_a_running_run_goes_through_its_learner(folder, tmp_path):
    config = SO101SimConfig(obs="pixels", image_width=24, image_height=16)
    run = Bench(folder / "log", "so101_sim", config, run_id="r").start()
    try:
        for entry in run.log.read():
            run.ingest.note_earlier(entry[1])
        (folder / "token").write_text(TOKEN + "\n")
        (folder / "token").chmod(0o600)
        write_service_file(folder, "r", f"localhost:{run.port}", str(folder / "token"))
        Labelling(folder, Amender(folder).amend).amend(IDS[1], "failure", 2)
        wait_for(lambda: [e for e in run.entries if e.record.HasField("amendment")])
    finally:
        run.stop()
    *_, last = (entry for _, entry in read_log(folder / "log"))
    assert (last.actor, last.record.amendment.author) == ("learner", "person")
    with pytest.raises(RewardError, match="the outcome was not changed: nobody answers"):
        Labelling(folder, Amender(folder).amend).amend(IDS[1], "success", 2)
