"""What a published version consists of: the frozen part of a pretrained encoder is handed over before the first."""

import hashlib
from types import SimpleNamespace

import torch
from safetensors.torch import save

from learner.publisher import PolicyPublisher
from learner.versions import PolicyVersions
from policies.pretrained import load_frozen
from policies.resnet import FrozenResNet, file_name
from policies.snapshot import load_snapshot
from policies.spec import PolicySpec, build_policy


def test_the_frozen_part_is_there_with_the_first_version_and_in_none(tmp_path):
    torch.manual_seed(0)
    buffers = FrozenResNet("resnet10", "").named_buffers()
    file = save({file_name("resnet10", name): torch.rand(value.shape) for name, value in buffers})
    policy = build_policy(
        PolicySpec(
            action_size=2,
            hidden=(16,),
            images=("observation.images.front",),
            image_stacks=(1,),
            image_heights=(64,),
            image_widths=(64,),
            encoder="resnet10",
            encoder_size=32,
            encoder_sha256=hashlib.sha256(file).hexdigest(),
        )
    )
    load_frozen(policy, file)
    publisher = PolicyPublisher()
    folder = SimpleNamespace(run_id="run", next_version=lambda: 0, reserve_versions=lambda version: version + 100)
    trainer = SimpleNamespace(
        algorithm=SimpleNamespace(policy=policy, updates=0),
        config=SimpleNamespace(policy_dtype="float32"),
        diverged="",
        folder=folder,
        metrics=SimpleNamespace(env_steps=0, published=lambda version: None),
    )
    versions = PolicyVersions(folder, publisher)
    for version in range(2):
        assert versions.publish(trainer) == version
        published = publisher.newer("a", version, 0)
        assert published.frozen.payload == file
        assert published.frozen.sha256 == policy.spec.encoder_sha256
        assert len(published.payload) < len(file) / 10
        load_snapshot(published.payload, published.frozen.payload)
