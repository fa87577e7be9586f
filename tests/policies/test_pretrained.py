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


READ = """
import sys
from policies.pretrained import read_weights_file
from policies.resnet import EncoderFileError

for reference in sys.argv[1:]:
    try:
        print(read_weights_file(reference).sha256)
    except EncoderFileError as error:
        print(error)
"""


def test_files_of_the_hub_are_found_by_owner_name_and_revision_and_named_where_they_are_not(tmp_path, weights_file):
    pytest.importorskip("huggingface_hub")
    data, sha256 = weights_file("resnet10")
    repository = tmp_path / "models--someone--resnet10"
    commit = "1" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    file = repository / "snapshots" / commit / "weights" / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    there = [f"hub:someone/resnet10{revision}/weights/model.safetensors" for revision in ("", "@main")]
    # In a process of its own, which reads these when it imports the hub: offline, with this folder as its cache.
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", READ, *there, "hub:someone/resnet18/model.safetensors"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.stdout.splitlines()[:2] == [sha256, sha256], result.stderr
    missing = "the encoder weights 'hub:someone/resnet18/model.safetensors' cannot be fetched: "
    assert result.stdout.splitlines()[2].startswith(missing), result.stdout
    assert result.returncode == 0, result.stderr


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
