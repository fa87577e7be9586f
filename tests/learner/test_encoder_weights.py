import hashlib

import pytest
import torch
from safetensors.torch import load, save

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from learner.algorithms import build_algorithm, policy_spec
from learner.algorithms.drqv2_config import DrQv2Config
from learner.algorithms.sac_config import SACConfig
from policies.pretrained import frozen_bytes
from policies.resnet import EncoderFileError, FrozenResNet, file_name

CAMERA = "observation.images.front"


def contract():
    features = Feature("observation.state", "float32", (4,)), Feature(CAMERA, "uint8", (80, 80, 3))
    action = Feature("action", "float32", (2,), low=(-1,), high=(1,))
    return Contract(Interface("t", features, action), View((FeatureView(CAMERA, resize=(64, 64)),)))


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    found = {
        file_name("resnet10", n): 0.1 * torch.randn(v.shape) for n, v in FrozenResNet("resnet10", "").named_buffers()
    }
    path = tmp_path / "weights.safetensors"
    path.write_bytes(save(found))
    return path


@pytest.mark.parametrize("config", [SACConfig, DrQv2Config])
def test_an_algorithm_starts_with_the_encoder_of_the_named_file(config, weights):
    settings = config(encoder="resnet10", encoder_weights=str(weights), hidden=(8,), encoder_size=16)
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert policy_spec(contract(), settings).encoder_sha256 == sha256
    algorithm = build_algorithm(contract(), settings, device="cpu")
    for policy in (algorithm.policy, algorithm.ema_policy):
        assert frozen_bytes(policy) == weights.read_bytes()
        assert not any("trunk.conv" in name or "trunk.layer" in name for name, _ in policy.named_parameters())
    assert not any("trunk.conv" in name or "trunk.layer" in name for name in algorithm.state()[0])


@pytest.mark.parametrize("config", [SACConfig, DrQv2Config])
def test_encoder_weights_that_are_not_there_are_one_clear_error(config, weights):
    with pytest.raises(EncoderFileError, match=r"set algorithm\.encoder_weights"):
        policy_spec(contract(), config(encoder="resnet10"))
    with pytest.raises(EncoderFileError, match=f"must have sha256 {'0' * 64}"):
        policy_spec(contract(), config(encoder="resnet10", encoder_weights=str(weights), encoder_sha256="0" * 64))
    with pytest.raises(EncoderFileError, match=r"not those of encoder 'resnet18': 'conv1\.weight' is missing"):
        policy_spec(contract(), config(encoder="resnet18", encoder_weights=str(weights)))


@pytest.mark.parametrize("config", [SACConfig, DrQv2Config])
def test_a_run_does_not_resume_on_other_encoder_weights(config, weights):
    settings = config(encoder="resnet10", encoder_weights=str(weights), hidden=(8,), encoder_size=16)
    before = build_algorithm(contract(), settings, device="cpu")
    other = {name: value + 1 for name, value in load(weights.read_bytes()).items()}
    weights.write_bytes(save(other))
    after = build_algorithm(contract(), settings, device="cpu")
    with pytest.raises(ValueError, match=f"'encoder_sha256' must be '{after.spec.encoder_sha256}'"):
        after.load_state(*before.state())
