"""A run keeps its pretrained weights: it goes on and is evaluated without the file that it was started with."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load, save

from envs.so101_sim import SO101SimConfig
from episodes.contract import Contract, Feature, FeatureView, Interface, View
from learner.algorithms import build_algorithm
from learner.algorithms.sac_config import SACConfig
from learner.config import LearnerConfig
from learner.encoder_copy import copy_path, keep_encoder, kept_copy, with_kept_encoder
from learner.main import kept_settings
from learner.run_folder import open_run_folder
from policies.pretrained import frozen_bytes
from tests.frozen_policy import frozen_policy

CAMERA = "observation.images.front"
CONTRACT = Contract(
    Interface(
        "t",
        (Feature("observation.state", "float32", (4,)), Feature(CAMERA, "uint8", (64, 64, 3))),
        Feature("action", "float32", (2,), low=(-1.0,), high=(1.0,)),
    ),
    View((FeatureView(CAMERA),)),
)
TANDEM = Path(sys.executable).parent / "tandem"
ENVIRONMENT = {**os.environ, "TANDEM_TOKEN": "token-of-the-tests-0123456789", "OMP_NUM_THREADS": "1"}
SMALL = [
    *("env=so101_sim", "env.obs=pixels", "env.cameras=[wrist]", "env.max_episode_steps=2", "learner.device=cpu"),
    *("algorithm.hidden=[8]", "algorithm.batch_size=4", "algorithm.encoder=resnet10"),
    *("replay.capacity_gb=0.05", "tracker=none", "learner.console=false"),
]


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "resnet10.safetensors"
    path.write_bytes(frozen_policy()[1])
    return path


@pytest.fixture
def run(tmp_path, weights) -> LearnerConfig:
    """Settings of a run that was started with ``weights`` and keeps them."""
    algorithm = SACConfig(encoder="resnet10", encoder_weights=str(weights), hidden=(8,), encoder_size=16)
    config = LearnerConfig("tests", SO101SimConfig(), str(tmp_path / "run"), algorithm=algorithm, device="cpu")
    folder = open_run_folder(
        config.run, CONTRACT, env="tests", resume="auto", replay_bytes=1, settings=kept_settings(config)
    )
    keep_encoder(config, folder.path, CONTRACT)
    return config


def learn(run: Path, until: Callable[[str], bool], *arguments: str) -> tuple[int, str]:
    """A learner that is stopped as soon as ``until`` holds of what it said: its exit code and its words."""
    said = run.with_suffix(".txt")
    command = [TANDEM, "learner", f"run={run}", "learner.address=127.0.0.1:0", *arguments]
    with said.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=ENVIRONMENT, cwd=run.parent)
        until_s = time.monotonic() + 120
        while process.poll() is None and not until(said.read_text()) and time.monotonic() < until_s:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()
    return process.returncode, said.read_text()


@pytest.mark.timeout(400)
def test_a_run_is_resumed_and_evaluated_after_the_file_was_deleted(tmp_path, weights):
    run = tmp_path / "run"
    ready = lambda text: "replay: room" in text  # noqa: E731
    code, text = learn(run, ready, *SMALL, f"algorithm.encoder_weights={weights}")
    assert code == 130, text
    data = weights.read_bytes()
    weights.unlink()
    code, text = learn(run, ready)
    assert (code, "resuming from" in text) == (130, True), text
    evaluation = subprocess.run(
        [TANDEM, "eval", f"run={run}", "policy=last", "episodes=1"], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert evaluation.returncode == 0, evaluation.stderr
    assert [file.read_bytes() for file in (run / "encoders").iterdir()] == [data]
    assert f"encoder_weights: {weights}" in (run / "config.yaml").read_text(), "the settings stay those of the person"


def test_a_run_goes_on_with_its_own_weights_whatever_lies_in_their_place(run, weights):
    before = weights.read_bytes()
    weights.write_bytes(save({name: value + 1 for name, value in load(before).items()}))
    again = build_algorithm(CONTRACT, with_kept_encoder(run).algorithm, device="cpu")
    assert frozen_bytes(again.policy) == before


def test_a_damaged_copy_is_made_anew_from_the_file(run, weights):
    path = copy_path(Path(run.run), hashlib.sha256(weights.read_bytes()).hexdigest())
    path.write_bytes(b"half of it")
    assert kept_copy(Path(run.run)) is None
    assert with_kept_encoder(run) == run
    keep_encoder(run, Path(run.run), CONTRACT)
    assert path.read_bytes() == weights.read_bytes()


@pytest.mark.parametrize("changed", [{"encoder": "resnet18"}, {"encoder_weights": "other"}, {"encoder_sha256": "0"}])
def test_settings_of_another_encoder_do_not_take_the_copy(run, changed):
    other = replace(run, algorithm=replace(run.algorithm, **changed))
    assert with_kept_encoder(other) == other


def test_a_new_run_and_one_without_pretrained_weights_keep_nothing(tmp_path, run):
    new = replace(run, run=str(tmp_path / "new"))
    assert with_kept_encoder(new) == new
    plain = replace(new, algorithm=SACConfig(hidden=(8,)))
    assert keep_encoder(plain, tmp_path, CONTRACT) == plain
    assert not (tmp_path / "encoders").exists()
