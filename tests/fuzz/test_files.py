"""Files from strangers: they are read, or refused with an error of ours, and nothing else happens."""

import json
import struct
from zlib import crc32

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actor.spool import Spool, SpoolError
from cli.errors import CommandError
from cli.learner import stored_values
from episodes.log import EpisodeLog, LogError, read_log
from episodes.log_segment import HEADER, MAGIC, VERSION
from learner.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from learner.run_folder import RunFolderError, open_run_folder, read_run
from learner.service_file import ServiceFileError, read_service_file
from policies.snapshot import SnapshotError, load_in_parts, read_snapshot, save_snapshot
from policies.spec import PolicySpec, build_policy
from tests.learner.wire import episode_records, wire_contract
from transport import records_pb2 as pb

FUZZ = settings(
    max_examples=50, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def damage(draw, whole: bytes):
    """``whole`` with bytes changed, left out or put in, anywhere."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(("change", "cut", "insert", "end")))
        if kind == "change" and data:
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=32))
        else:
            del data[at:]
    return bytes(data)


def segment() -> bytes:
    """A log of two episodes."""
    text = json.dumps({"base": 0, "interface_fingerprint": "f", "positions": {}, "run_id": "r"}).encode()
    data = HEADER.pack(MAGIC, VERSION, len(text), crc32(text)) + text
    for record in (*episode_records(1, 3), *episode_records(2, 3, first_sequence=6)):
        entry = pb.LogEntry(spool_id="s", actor="a", record=record).SerializeToString()
        data += struct.pack("<II", len(entry), crc32(entry)) + entry
    return data


@FUZZ
@given(data=damage(segment()) | st.binary(max_size=200))
def test_a_log(tmp_path, data):
    path = tmp_path / "segment-000000.log"
    path.write_bytes(data)
    try:
        read = len(list(read_log(tmp_path)))
    except LogError:
        read = None
    try:
        with EpisodeLog(tmp_path) as log:
            assert len(list(log.read())) == read
    except LogError:
        assert path.read_bytes() == data, "what is refused is left as it was"


@FUZZ
@given(fields=JSON | st.fixed_dictionaries(dict.fromkeys(("base", "run_id", "positions"), JSON)))
def test_the_header_of_a_log(tmp_path, fields):
    text = json.dumps(fields).encode()
    (tmp_path / "segment-000000.log").write_bytes(HEADER.pack(MAGIC, VERSION, len(text), crc32(text)) + text)
    with pytest.raises(LogError):
        EpisodeLog(tmp_path, run_id="r", interface_fingerprint="f")


STATE = {"run_id": "r", "log_offset": 0, "env_steps": 0, "updates": 0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    save_checkpoint(folder, Checkpoint("00000000-0", {"w": torch.arange(8.0)}, STATE, b"policy"))
    return folder / "00000000-0"


@FUZZ
@given(choice=st.data())
def test_a_checkpoint(checkpoint, tmp_path, choice):
    name = choice.draw(st.sampled_from(("state.json", "state.safetensors", "policy.safetensors")))
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = choice.draw(damage((checkpoint / name).read_bytes()) | JSON.map(lambda value: json.dumps(value).encode()))
    (tmp_path / name).write_bytes(data)
    try:
        loaded = load_checkpoint(tmp_path)
    except CheckpointError:
        return
    assert torch.equal(loaded.tensors["w"], torch.arange(8.0))
    assert loaded.policy == b"policy"


SPEC = PolicySpec(inputs=("s",), stacks=(1,), sizes=(4,), action_size=2, hidden=(8,))
POLICY = build_policy(SPEC)
SNAPSHOT = save_snapshot(POLICY, 1)


@FUZZ
@given(data=damage(SNAPSHOT) | st.binary(max_size=200))
def test_a_policy(data):
    for read in (lambda: read_snapshot(data), lambda: list(load_in_parts(POLICY, data))):
        try:
            read()
        except SnapshotError:
            continue


@FUZZ
@given(values=JSON)
def test_json_files_of_a_run_folder(tmp_path, values):
    for name in ("run.json", "service.json"):
        (tmp_path / name).write_text(json.dumps(values))
    with pytest.raises(RunFolderError):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"format": "tandem.run.v1", "settings": values, "env": values}))
    with pytest.raises(RunFolderError):
        open_run_folder(tmp_path, wire_contract(), env="e", resume="auto", replay_bytes=1, settings={})
    with pytest.raises(ServiceFileError):
        read_service_file(tmp_path)


@FUZZ
@given(
    text=JSON.map(json.dumps) | st.text(max_size=80) | st.sampled_from(("!!python/object/apply:os.abort []", "&a [*a]"))
)
def test_the_config_of_a_run(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(CommandError):
        stored_values(tmp_path)


@FUZZ
@given(data=st.data())
def test_a_spool(tmp_path, data):
    path = tmp_path / "spool.bin"
    path.unlink(missing_ok=True)
    spool = Spool.create(path, run_id="r", actor="a", fingerprint="f", slot_bytes=256, capacity=4)
    spool.start_episode(pb.EpisodeStart(episode_id="0" * 32, purpose=pb.PURPOSE_TRAINING))
    spool.close()
    whole = bytearray(path.read_bytes())
    places = (st.integers(0, 300), st.integers(512, 600), st.integers(4096, 4200), st.integers(8192, len(whole) - 1))
    for at in data.draw(st.lists(st.one_of(*places), min_size=1, max_size=6)):
        whole[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        spool = Spool(path)
        spool.recover()
        for sequence in range(spool.acknowledged + 1, min(spool.produced, 8) + 1):
            spool.read(sequence)
    except SpoolError:
        return


def test_a_setting_of_a_strangers_run_is_text_and_reads_nothing(tmp_path, monkeypatch):
    """OmegaConf would resolve ``${oc.env:NAME}``, and what a run stores is sent to trackers and actors."""
    from cli.composition import compose_verb
    from cli.learner import list_groups, list_keys

    monkeypatch.setenv("SECRET_OF_THE_TEST", "do-not-show")
    stored = "${oc.env:SECRET_OF_THE_TEST}"
    keys = (list_keys(), list_groups(), ["env=gym", f"run={tmp_path}"])
    for typed in ([], [f"env.settings={stored}"]):
        found = compose_verb(
            "learner", *keys[:2], [*keys[2], *typed], lambda folder: {"env": "gym", "env.settings": stored}
        )
        assert found.configs["env"].settings == stored
        assert "do-not-show" not in str(vars(found))
