"""LeRobot's reward classifiers give the logits that LeRobot's own code gives, or are refused by key."""

import json
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from policies.resnet import FrozenResNet, file_name
from reward.config import RewardError
from reward.lerobot_classifier import _Network, load_pretrained
from reward.preprocessing import FrameError

CAMERAS = ("observation.images.front", "observation.images.wrist")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
CONFIG = {
    "type": "reward_classifier",
    "num_classes": 2,
    "hidden_dim": 32,
    "latent_dim": 16,
    "image_embedding_pooling_dim": 4,
    "dropout_rate": 0.1,
    "model_name": "helper2424/resnet10",
    "model_type": "cnn",
    "num_cameras": 2,
    "input_features": {name: {"type": "VISUAL", "shape": [3, 128, 128]} for name in CAMERAS},
    "normalization_mapping": {"VISUAL": "MEAN_STD"},
}


class Backbone(nn.Module):
    """A ResNet-10 as the hub's model answers: an object with the last feature maps, under the names of its file."""

    def __init__(self):
        super().__init__()
        self.trunk = [FrozenResNet("resnet10", "")]
        self.trunk[0].file = b"random"
        generator = torch.Generator().manual_seed(1)
        self.names = {}
        for name, buffer in self.trunk[0].named_buffers():
            buffer.copy_(torch.rand(buffer.shape, generator=generator) * 0.05)
            self.names[file_name("resnet10", name)] = buffer
        self.config = types.SimpleNamespace(hidden_sizes=[512])

    def forward(self, images):
        return types.SimpleNamespace(last_hidden_state=self.trunk[0](images))


@pytest.fixture
def folder(tmp_path):
    """As LeRobot writes it: the encoder once, a head for each camera, statistics beside."""
    torch.manual_seed(0)
    backbone = Backbone()
    own = _Network(CONFIG, list(CAMERAS), backbone.trunk[0])
    nn.init.normal_(own.encoders["observation_images_front"][1].kernel, std=0.01)
    nn.init.normal_(own.encoders["observation_images_wrist"][1].kernel, std=0.01)
    tensors = {k: v.clone() for k, v in own.state_dict().items()}
    tensors |= {f"encoder.{name}": value.clone() for name, value in backbone.names.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    statistics = {f"{c}.{k}": torch.tensor(v).view(3, 1, 1) for c in CAMERAS for k, v in (("mean", MEAN), ("std", STD))}
    save_file(statistics, tmp_path / "classifier_preprocessor_step_0_normalizer_processor.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


FRAMES = {name: np.random.default_rng(0).integers(0, 256, (3, 96, 160, 3), dtype=np.uint8) for name in CAMERAS}


@pytest.mark.long
def test_logits_are_those_of_lerobots_own_code(folder):
    """transformers, which alone fetches backbones, is not needed for one made here."""
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.rewards.classifier.configuration_classifier import RewardClassifierConfig
    from lerobot.rewards.classifier.modeling_classifier import Classifier

    auto = types.ModuleType("transformers")
    auto.AutoModel = types.SimpleNamespace(from_pretrained=lambda *_, **__: Backbone())
    fields = ("hidden_dim", "latent_dim", "image_embedding_pooling_dim", "model_name", "num_cameras")
    features = {name: PolicyFeature(FeatureType.VISUAL, (3, 128, 128)) for name in CAMERAS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "transformers", auto)
        theirs = Classifier(RewardClassifierConfig(**{k: CONFIG[k] for k in fields}, input_features=features)).eval()
    heads = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("encoder.")}
    theirs.load_state_dict(heads)
    images = []
    for name in CAMERAS:
        pixels = torch.from_numpy(FRAMES[name]).permute(0, 3, 1, 2).float() / 255
        pixels = F.interpolate(pixels, (128, 128), mode="bilinear", antialias=True).clamp(0, 1)
        images.append((pixels - torch.tensor(MEAN).view(3, 1, 1)) / (torch.tensor(STD).view(3, 1, 1) + 1e-8))
    with torch.no_grad():
        expected = theirs.predict(images).logits
    ours = load_pretrained(str(folder)).logits(FRAMES)
    np.testing.assert_allclose(ours, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert np.ptp(ours) > 0


def test_a_folder_of_lerobots_judges_frames_of_any_size_and_refuses_a_missing_camera(folder):
    ours = load_pretrained(str(folder))
    assert np.isfinite(ours.logits(FRAMES)).all()
    assert ours.version.startswith(f"{folder.name}@")
    with pytest.raises(FrameError, match=r"needs 'observation.images.wrist' as uint8"):
        ours.logits({CAMERAS[0]: FRAMES[CAMERAS[0]]})


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("num_classes", 3, "num_classes must be 2. Got: 3"),
        ("model_type", "transformer", "model_type must be 'cnn'. Got: 'transformer'"),
        ("model_name", "microsoft/resnet-18", "model_name must be 'lerobot/resnet10' or"),
        ("type", "act", "type must be 'reward_classifier'. Got: 'act'"),
        ("latent_dim", None, "latent_dim must be a whole number. Got: None"),
        ("latent_dim", 8, r"is not this classifier: 'encoders.observation_images_front.3.weight' must be"),
        ("normalization_mapping", {"VISUAL": "MIN_MAX"}, "normalization_mapping.VISUAL must be MEAN_STD or IDENTITY"),
    ],
)
def test_what_cannot_be_run_is_refused_by_its_key(folder, key, value, text):
    (folder / "config.json").write_text(json.dumps(CONFIG | {key: value}))
    with pytest.raises(RewardError, match=text):
        load_pretrained(str(folder))


def test_statistics_that_are_missing_are_named(folder):
    next(folder.glob("*preprocessor*")).unlink()
    with pytest.raises(RewardError, match=r"lacks 'observation.images.front.mean'"):
        load_pretrained(str(folder))
