import os
import subprocess
import sys

import pytest

from policies.pretrained import frozen_bytes, frozen_loaded, load_frozen, read_weights_file
from policies.resnet import EncoderFileError
from policies.spec import build_policy


def test_a_local_file_is_read_with_its_hash(tmp_path, weights_file):
    data, sha256 = weights_file("resnet10")
    path = tmp_path / "resnet10.safetensors"
    path.write_bytes(data)
    file = read_weights_file(str(path))
    assert (file.data, file.sha256) == (data, sha256)
    assert read_weights_file(str(path), sha256.upper()).sha256 == sha256
    with pytest.raises(EncoderFileError, match=f"{path.name}' must have sha256 {'0' * 64}. Got: {sha256}"):
        read_weights_file(str(path), "0" * 64)


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("", r"set algorithm\.encoder_weights to a safetensors file or to hub:OWNER/NAME/FILE"),
        ("missing.safetensors", r"'missing\.safetensors' cannot be read: No such file"),
        ("hub:resnet18.safetensors", r"must be hub:OWNER/NAME\[@REVISION\]/FILE\. Got: 'hub:resnet18\.safetensors'"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(reference, text):
    with pytest.raises(EncoderFileError, match=text):
        read_weights_file(reference)


READ = "import sys; from policies.pretrained import read_weights_file as read; print(read(sys.argv[1]).sha256)"


def in_hub_cache(folder, reference):
    """Reads a reference in a process of its own, offline, with this folder as the hub's cache."""
    pytest.importorskip("huggingface_hub")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder)}
    return subprocess.run([sys.executable, "-c", READ, reference], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("revision", ["", "@main"])
def test_a_file_of_the_hub_is_found_by_owner_name_and_revision(revision, tmp_path, weights_file):
    data, sha256 = weights_file("resnet10")
    repository = tmp_path / "models--someone--resnet10"
    commit = "1" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    file = repository / "snapshots" / commit / "weights" / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    result = in_hub_cache(tmp_path, f"hub:someone/resnet10{revision}/weights/model.safetensors")
    assert result.stdout.strip() == sha256, result.stderr


def test_a_file_that_the_hub_does_not_give_is_named(tmp_path):
    result = in_hub_cache(tmp_path, "hub:someone/resnet10/model.safetensors")
    assert "the encoder weights 'hub:someone/resnet10/model.safetensors' cannot be fetched: " in result.stderr


def test_a_policy_gets_its_frozen_part_by_its_file(image_spec, weights_file):
    data, sha256 = weights_file("resnet10")
    policy = build_policy(image_spec("resnet10", encoder_sha256=sha256))
    assert not frozen_loaded(policy)
    with pytest.raises(EncoderFileError, match="were not loaded"):
        frozen_bytes(policy)
    with pytest.raises(EncoderFileError, match="must have sha256"):
        load_frozen(policy, data + b" ")
    load_frozen(policy, data)
    assert frozen_loaded(policy)
    assert frozen_bytes(policy) == data
    assert all(name.startswith(("encoder.embeddings.", "layers.", "offsets.", "head.")) for name in names(policy))


def names(policy):
    return [name for name, _ in policy.named_parameters()]
