import json
import os
import resource

import pytest
import torch

from learner.checkpoint import (
    Checkpoint,
    CheckpointError,
    CheckpointWriter,
    checkpoint_name,
    load_best,
    load_checkpoint,
    newest_checkpoint,
    pointed,
    retain,
    save_best,
    save_checkpoint,
)


def checkpoint(name: str = "00001500-2800") -> Checkpoint:
    tensors = {"critic.weight": torch.arange(6.0).reshape(2, 3), "generator": torch.arange(4, dtype=torch.uint8)}
    return Checkpoint(name, tensors, {"log_offset": 12, "limiter": {"started": True}}, b"policy bytes")


def test_a_checkpoint_comes_back_complete(tmp_path):
    save_checkpoint(tmp_path, checkpoint())
    loaded = load_checkpoint(tmp_path / "00001500-2800")
    assert loaded.state == checkpoint().state
    assert loaded.policy == b"policy bytes"
    assert loaded.tensors.keys() == checkpoint().tensors.keys()
    assert all(torch.equal(loaded.tensors[k], v) for k, v in checkpoint().tensors.items())
    assert pointed(tmp_path, "last") == tmp_path / "00001500-2800"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00001500-2800", "last.json"]


@pytest.mark.parametrize("name", ["state.safetensors", "policy.safetensors"])
def test_a_damaged_checkpoint_is_refused_by_the_name_of_its_file(tmp_path, name):
    save_checkpoint(tmp_path, checkpoint())
    path = tmp_path / "00001500-2800" / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"is damaged: {name} does not match its sha256. Delete .*2800 to go on"):
        load_checkpoint(tmp_path / "00001500-2800")


@pytest.mark.parametrize("name", ["state.safetensors", "policy.safetensors", "state.json"])
def test_an_incomplete_checkpoint_is_refused(tmp_path, name):
    save_checkpoint(tmp_path, checkpoint())
    (tmp_path / "00001500-2800" / name).unlink()
    with pytest.raises(CheckpointError, match=f"is incomplete: .*{name}"):
        load_checkpoint(tmp_path / "00001500-2800")


def test_what_a_crash_left_unfinished_does_not_count(tmp_path):
    save_checkpoint(tmp_path, checkpoint("00000100-20"))
    (tmp_path / ".00000200-40.99.tmp").mkdir()
    (tmp_path / ".00000300-60.old").mkdir()
    assert newest_checkpoint(tmp_path) == tmp_path / "00000100-20"
    assert newest_checkpoint(tmp_path / "absent") is None


def test_newest_is_by_number_and_names_are_never_used_twice(tmp_path):
    for name in ("00000900-5", "00001000-4", "00001000-30", "00001000-30-1", "123456789-1"):
        save_checkpoint(tmp_path, checkpoint(name))
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.name == "123456789-1"
    assert checkpoint_name(1000, 30) == "00001000-30"
    assert checkpoint_name(1000, 30, "00001000-30") == "00001000-30-1"
    assert checkpoint_name(1000, 30, "00001000-30-1") == "00001000-30-2"
    assert checkpoint_name(1000, 31, "00001000-30-1") == "00001000-31"


def test_retention_keeps_the_newest_and_the_best(tmp_path):
    names = [f"{i:08d}-{i}" for i in range(1, 6)]
    for name in names:
        save_checkpoint(tmp_path, checkpoint(name))
    save_best(tmp_path, names[0], {"success_rate": 0.9})
    retain(tmp_path, 2, [names[0]])
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == [names[0], *names[3:]]
    assert load_best(tmp_path) == {"checkpoint": names[0], "success_rate": 0.9}
    retain(tmp_path, 1, [])
    assert load_best(tmp_path) is None


def test_the_writer_writes_in_the_background_and_says_what_failed(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    writer = CheckpointWriter(folder, 2, lambda: [])
    for i in range(4):
        writer.submit(checkpoint(f"{i:08d}-{i}"))
    writer.flush(10)
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == ["00000002-2", "00000003-3"]
    assert writer.fault == ""
    os.rename(folder, tmp_path / "away")
    folder.write_text("a file where the folder was")
    writer.submit(checkpoint("00000009-9"))
    with pytest.raises(CheckpointError, match="a checkpoint could not be written to"):
        writer.flush(10)
    folder.unlink()
    os.rename(tmp_path / "away", folder)
    writer.submit(checkpoint("00000010-10"))
    writer.close()
    assert writer.fault == ""
    assert json.loads((folder / "last.json").read_text()) == {"checkpoint": "00000010-10"}


def test_a_checkpoint_that_did_not_fit_takes_no_room(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(tmp_path, Checkpoint("00000001-1", {"w": torch.zeros(1 << 16)}, {}, b"policy bytes"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_deletes_what_a_crash_left(tmp_path):
    for name in (".00000200-40.99.tmp", ".00000300-60.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.safetensors").write_bytes(bytes(100))
    CheckpointWriter(tmp_path, 2, lambda: []).close()
    assert list(tmp_path.iterdir()) == []
