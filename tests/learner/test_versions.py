"""What a published version consists of: the frozen part of a pretrained encoder is handed over before the first."""

from types import SimpleNamespace

from learner.publisher import PolicyPublisher
from learner.versions import PolicyVersions
from policies.snapshot import load_snapshot
from tests.frozen_policy import frozen_policy


def test_the_frozen_part_is_there_with_the_first_version_and_in_none(tmp_path):
    policy, file = frozen_policy()
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
