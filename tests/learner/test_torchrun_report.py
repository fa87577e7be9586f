"""What torchrun says last of a learner that failed: why, in the learner's own words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from learner.config import ConfigError
from learner.distributed import tells_torchrun


def report(code: int, file: Path) -> str:
    """As torchrun makes it of what rank 0 left."""
    return str(
        ChildFailedError("tandem", {0: ProcessFailure(local_rank=0, pid=1, exitcode=code, error_file=str(file))})
    )


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    return tmp_path / "error.json"


def test_an_error_is_in_the_report(file):
    def fail(config: str) -> int:
        raise ConfigError(f"{config}: expected 1, got 2")

    with pytest.raises(ConfigError):
        tells_torchrun(fail)("a key")
    assert "a key: expected 1, got 2" in report(1, file)


def test_a_cap_is_in_the_report_with_its_own_exit_code(file):
    assert tells_torchrun(lambda config: 3)("") == 3
    assert "tandem learner ended with exit code 3. What it said stands above" in report(3, file)


def test_there_is_none_of_a_run_that_ended_well_or_without_torchrun(file, monkeypatch):
    assert tells_torchrun(lambda config: 0)("") == 0
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE")
    assert tells_torchrun(lambda config: 3)("") == 3
    assert not file.exists()


@pytest.mark.long
def test_torchrun_ends_with_the_words_of_a_learner_that_was_refused(tmp_path):
    scripts = Path(sys.executable).parent
    done = subprocess.run(
        [
            *(scripts / "torchrun", "--nproc-per-node", "2", "--master-port", "0", "--no-python", scripts / "tandem"),
            *("learner", "env=gym", "learner.device=cpu", "algorithm.encoder=resnet", f"run={tmp_path / 'run'}"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TANDEM_TOKEN": "token-of-the-tests-0123456789", "OMP_NUM_THREADS": "1"},
    )
    said = "algorithm.encoder must be one of small, keypoints, lerobot, drqv2, resnet10, resnet18. Got: 'resnet'"
    assert done.returncode == 1
    assert done.stderr.count(f"tandem: {said}") == 1
    assert f"traceback : {said}" in done.stderr.rpartition("Root Cause")[2]
    assert not (tmp_path / "run").exists()
