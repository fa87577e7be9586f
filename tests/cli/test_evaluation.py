"""A policy with a pretrained encoder is evaluated from its run folder with the weights the run learned with."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import save

from actor.evaluate import evaluate
from cli.errors import CommandError
from cli.evaluation import frozen_part, policy_file
from envs.registry import derive_contract
from envs.so101_sim import SO101SimConfig
from policies.pretrained import load_frozen
from policies.resnet import EncoderFileError, FrozenResNet, file_name
from policies.snapshot import SnapshotError, save_snapshot
from policies.spec import build_policy, spec_from_contract

PIXELS = SO101SimConfig(obs="pixels", cameras=("wrist",), max_episode_steps=2)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    tensors = {
        file_name("resnet10", name): torch.rand(value.shape) * 0.05
        for name, value in FrozenResNet("resnet10", "").named_buffers()
    }
    path = tmp_path / "resnet10.safetensors"
    path.write_bytes(save(tensors))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"algorithm": {"encoder_weights": str(path)}}))
    return path


def policy(weights):
    data = weights.read_bytes()
    contract = derive_contract("so101_sim", PIXELS)
    sha256 = hashlib.sha256(data).hexdigest()
    built = build_policy(spec_from_contract(contract, encoder="resnet10", encoder_sha256=sha256, hidden=(8,)))
    load_frozen(built, data)
    return save_snapshot(built, 3)


def test_the_frozen_part_comes_from_the_runs_settings(tmp_path, weights):
    payload = policy(weights)
    assert len(payload) < weights.stat().st_size / 4
    frozen = frozen_part(tmp_path, payload)
    assert frozen == weights.read_bytes()
    assert evaluate("so101_sim", PIXELS, policy=payload, frozen=frozen, episodes=1).steps == (2,)
    with pytest.raises(SnapshotError, match="needs the frozen weights of encoder 'resnet10'"):
        evaluate("so101_sim", PIXELS, policy=payload, episodes=1)


def test_another_file_in_its_place_is_refused(tmp_path, weights):
    payload = policy(weights)
    weights.write_bytes(b"something else")
    with pytest.raises(EncoderFileError, match=r"must have sha256 [0-9a-f]{64}\. Got: "):
        frozen_part(tmp_path, payload)


def test_a_policy_without_one_needs_no_file(tmp_path):
    contract = derive_contract("so101_sim", replace(PIXELS, obs="state"))
    assert frozen_part(tmp_path, save_snapshot(build_policy(spec_from_contract(contract, hidden=(8,))), 1)) == b""


def test_the_policies_that_a_run_holds_are_those_it_offers(tmp_path):
    with pytest.raises(CommandError, match=r"holds no best policy \(.* is not there\)\. Train it first$"):
        policy_file(tmp_path, "best")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "version-0.safetensors").touch()
    with pytest.raises(CommandError, match=r"no last policy \(.* is not there\)\. Choose policy=first$"):
        policy_file(tmp_path, "last")
    checkpoint = tmp_path / "checkpoints" / "00000010-00000020"
    checkpoint.mkdir(parents=True)
    (checkpoint / "policy.safetensors").touch()
    (tmp_path / "checkpoints" / "last.json").write_text(json.dumps({"checkpoint": checkpoint.name}))
    text = r"none was chosen by an evaluation yet\. Choose policy=last or policy=first$"
    with pytest.raises(CommandError, match=text):
        policy_file(tmp_path, "best")
