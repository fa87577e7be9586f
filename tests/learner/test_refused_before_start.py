"""What cannot be run is refused by one error before a run folder is made."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from envs.errors import EnvError
from envs.registry import derive_contract
from envs.so101_sim import SO101SimConfig
from learner import memory
from learner.algorithms import policy_spec
from learner.algorithms.drqv2_config import DrQv2Config
from learner.algorithms.sac_config import SACConfig
from learner.config import ConfigError, LearnerConfig, PolicyConfig
from learner.main import run_learner
from learner.memory import replay_beyond_memory
from learner.replay import ReplayConfig
from policies.snapshot import SnapshotError, save_snapshot
from policies.spec import PolicySpecError, build_policy

STATE, PIXELS = SO101SimConfig(obs="state"), SO101SimConfig(obs="pixels")
SMALL = {"hidden": (8,), "batch_size": 4}


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """The text with which a learner of these settings refuses to start; no run folder is made."""
    monkeypatch.setenv("TANDEM_TOKEN", "token-of-the-tests-0123456789")

    def start(error: type[Exception], **settings) -> str:
        values = {"env_config": STATE, "algorithm": SACConfig(**SMALL), "replay": ReplayConfig(capacity_gb=0.01)}
        config = LearnerConfig(
            "so101_sim", run=str(tmp_path / "run"), address="localhost:0", device="cpu", **values | settings
        )
        with pytest.raises(error) as refusal:
            run_learner(config)
        assert not (tmp_path / "run").exists()
        return str(refusal.value)

    return start


def saved(path: Path, env_config: SO101SimConfig) -> str:
    """A policy of this environment as a file."""
    spec = policy_spec(derive_contract("so101_sim", env_config), SACConfig(**SMALL))
    path.write_bytes(save_snapshot(build_policy(spec), 1))
    return str(path)


CAMERAS = "('observation.images.front', 'observation.images.wrist')"


@pytest.mark.parametrize(
    ("given", "run", "line"),
    [(PIXELS, STATE, f"images: expected (), got {CAMERAS}"), (STATE, PIXELS, f"images: expected {CAMERAS}, got ()")],
)
def test_a_policy_that_sees_something_else_is_refused(refused, tmp_path, given, run, line):
    file = saved(tmp_path / "given.safetensors", given)
    text = refused(SnapshotError, env_config=run, policy=PolicyConfig(file))
    assert text.startswith(f"policy.pretrained={file} is another policy than this run's:\n")
    assert f"\n  {line}\n" in text
    assert "encoder: expected" not in text
    assert "Start with the settings it was trained with" in text


def test_a_policy_of_another_algorithm_is_refused_naming_the_algorithm(refused, tmp_path):
    file = saved(tmp_path / "given.safetensors", STATE)
    text = refused(SnapshotError, algorithm=DrQv2Config(**SMALL), policy=PolicyConfig(file))
    assert text.splitlines()[1:-1] == ["  kind: expected 'deterministic', got 'gaussian'"]
    assert "algorithm (sac makes a gaussian policy, drqv2 a deterministic one)" in text


def test_a_policy_of_other_layers_is_refused(refused, tmp_path):
    file = saved(tmp_path / "given.safetensors", STATE)
    text = refused(SnapshotError, algorithm=SACConfig(hidden=(9,)), policy=PolicyConfig(file))
    assert "\n  hidden: expected (9,), got (8,)\n" in text


def test_a_file_that_is_no_policy_is_named(refused, tmp_path):
    (tmp_path / "text").write_text("hello")
    text = refused(SnapshotError, policy=PolicyConfig(str(tmp_path / "text")))
    assert text.startswith(
        f"policy.pretrained={tmp_path / 'text'} cannot be used: these 5 bytes are no policy snapshot"
    )


@pytest.mark.parametrize("algorithm", [SACConfig, DrQv2Config])
@pytest.mark.parametrize("env_config", [STATE, PIXELS])
def test_an_unknown_encoder_is_refused_also_where_there_is_no_image(refused, algorithm, env_config):
    text = refused(PolicySpecError, env_config=env_config, algorithm=algorithm(encoder="resnet", **SMALL))
    assert (
        text == "algorithm.encoder must be one of small, keypoints, lerobot, drqv2, resnet10, resnet18. Got: 'resnet'"
    )


@pytest.mark.parametrize(
    ("env_config", "encoder", "why"),
    [
        (PIXELS, "small", "algorithm.encoder must be resnet10 or resnet18. Got: 'small'"),
        (STATE, "resnet10", "no image is seen"),
    ],
)
def test_weights_that_nothing_would_use_are_refused(refused, env_config, encoder, why):
    algorithm = SACConfig(encoder=encoder, encoder_weights="some.safetensors", **SMALL)
    text = refused(PolicySpecError, env_config=env_config, algorithm=algorithm)
    assert text == f"nothing would use algorithm.encoder_weights=some.safetensors: {why}"


def test_encoder_weights_that_are_no_safetensors_file_are_named(refused, tmp_path):
    (tmp_path / "text").write_text("hello")
    algorithm = SACConfig(encoder="resnet10", encoder_weights=str(tmp_path / "text"), **SMALL)
    text = refused(ValueError, env_config=PIXELS, algorithm=algorithm)
    assert text.startswith(
        f"algorithm.encoder_weights={tmp_path / 'text'}: the weights of encoder 'resnet10' must be a safetensors file"
    )


def test_a_crop_outside_the_frame_is_refused(refused):
    text = refused(EnvError, env_config=replace(PIXELS, image_crop=(0, 0, 65, 64)))
    assert text.startswith("view.observation.images.front.crop: expected top, left, height, width within the 64 x 64")
    assert text.count("(0, 0, 65, 64)") == 1
    assert "Set env.image_crop=[top,left,height,width]" in text


def test_replay_beyond_the_memory_of_the_machine_is_refused(refused):
    text = refused(ConfigError, replay=ReplayConfig(capacity_gb=1e6))
    assert re.fullmatch(
        r"replay may take 1000000\.0 GB of memory, and [\d.]+ GB are free here\. Lower replay\.capacity_gb, or leave "
        "it out for a quarter of what is free",
        text,
    )


def test_images_on_a_gpu_take_no_memory_of_the_machine(monkeypatch):
    monkeypatch.setattr(memory, "free_memory_bytes", lambda: 1_000_000_000)
    contract = derive_contract("so101_sim", PIXELS)
    assert replay_beyond_memory(contract, 2_000_000_000, "host", "cpu").startswith("replay may take 2.0 GB of memory")
    assert replay_beyond_memory(contract, 2_000_000_000, "device", "cpu") == ""
    assert replay_beyond_memory(contract, 900_000_000, "host", "cpu") == ""


@pytest.mark.parametrize("algorithm", [SACConfig, DrQv2Config])
def test_a_takeover_discount_without_windows_that_end_there_is_refused(algorithm):
    replay = ReplayConfig(cut_at_takeover=False)
    with pytest.raises(ConfigError) as refusal:
        LearnerConfig("so101_sim", STATE, algorithm=algorithm(takeover_discount=0.8), replay=replay)
    assert str(refusal.value) == (
        "algorithm.takeover_discount=0.8 counts only where windows end at a takeover, and replay.cut_at_takeover=false "
        "lets them go on. Set algorithm.takeover_discount=1, or leave out replay.cut_at_takeover=false"
    )
    LearnerConfig("so101_sim", STATE, algorithm=algorithm(takeover_discount=1.0), replay=replay)
    LearnerConfig("so101_sim", STATE, algorithm=algorithm(takeover_discount=0.8))
