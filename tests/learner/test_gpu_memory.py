from pathlib import Path

import pytest
import torch

from learner.algorithms.sac_config import SACConfig
from learner.config import ConfigError, LearnerConfig
from learner.gpu_memory import out_of_memory_explained, what_to_lower
from learner.replay import ReplayConfig

TEXT = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139 GiB"


def explained(config):
    with pytest.raises(ConfigError) as refusal, out_of_memory_explained(config, Path("runs/mine")):
        raise torch.OutOfMemoryError(TEXT)
    return str(refusal.value)


def test_a_full_gpu_names_what_to_lower_and_how_to_go_on():
    text = explained(LearnerConfig(env="so101_sim", env_config=None))
    assert text.startswith(
        "the GPU ran out of memory (Tried to allocate 2.00 GiB): lower algorithm.batch_size (now 128), or keep the "
        "images of replay in main memory with replay.device=host. "
    )
    assert "`tandem learner run=runs/mine algorithm.batch_size=64` goes on from there" in text


def test_replay_on_the_host_is_not_advised_twice():
    config = LearnerConfig(env="so101_sim", env_config=None, replay=ReplayConfig(device="host"))
    assert "replay.device" not in explained(config)


def test_a_large_encoder_is_named():
    config = LearnerConfig(env="so101_sim", env_config=None, algorithm=SACConfig(encoder="resnet18"))
    assert "a smaller algorithm.encoder than resnet18, fewer env.cameras or a smaller env.image_resize" in explained(
        config
    )


@pytest.mark.parametrize(
    "text", ["CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"]
)
def test_what_libraries_say_of_a_full_gpu_is_recognised_too(text):
    assert what_to_lower(RuntimeError(text), LearnerConfig("x", None)).startswith("the GPU ran out of memory: lower")


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="another"), out_of_memory_explained(LearnerConfig("x", None), Path("x")):
        raise RuntimeError("another")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_torchs_own_error_is_recognised():
    with (
        pytest.raises(ConfigError, match="ran out of memory"),
        out_of_memory_explained(LearnerConfig(env="so101_sim", env_config=None), Path("x")),
    ):
        torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
