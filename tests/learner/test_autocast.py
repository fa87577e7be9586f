"""Image encoders that compute in bfloat16 during updates, against float32 on identical inputs."""

import numpy as np
import pytest
import torch

from learner.algorithms.compiled import compile_networks
from learner.config import ConfigError, LearnerConfig
from tests.learner.test_compiled import BATCH, of_images

ENCODERS = {"sac": "keypoints", "drqv2": "drqv2"}


@pytest.mark.parametrize("name", ENCODERS)
def test_updates_in_bfloat16_agree_with_those_in_float32_to_its_precision(name):
    """Two of its eight bits of precision, or 1/64, are left to what adds up on the way through an encoder."""
    (exact, seen), (rough, _) = (of_images(name, encoder=ENCODERS[name]) for _ in range(2))
    rough.encoder.autocast = torch.bfloat16
    before = [p.clone() for p in rough.policy.encoder.parameters()]
    expected, metrics = exact.update(seen(0)), rough.update(seen(0))
    assert any((metrics[key] != value).any() for key, value in expected.items()), "something was computed otherwise"
    for key in ("critic_loss", "q_mean", "target_mean"):
        torch.testing.assert_close(metrics[key], expected[key], rtol=1 / 64, atol=1 / 64, msg=key)
    moved, should = (
        [b - a for a, b in zip(before, x.policy.encoder.parameters(), strict=True)] for x in (rough, exact)
    )
    cosine = torch.nn.functional.cosine_similarity
    flat = [torch.cat([m.flatten() for m in of]) for of in (moved, should)]
    assert cosine(*flat, dim=0) > 0.9
    for network in (rough.policy, rough.critic, rough.target):
        assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_features_of_a_frozen_encoder_are_kept_as_float32():
    algorithm, seen = of_images("sac", encoder="small")
    algorithm.encoder.autocast = torch.bfloat16
    images = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in seen(0).observation.items()}
    inside = []
    algorithm.policy.encoder.register_forward_hook(lambda *called: inside.append(called[-1].dtype))
    assert algorithm.encoder.encode(images, trained=False)[0].dtype == torch.float32
    assert inside == [torch.bfloat16]


@pytest.mark.timeout(600)
def test_compiled_encoders_are_compiled_for_it():
    (eager, seen), (compiled, _) = (of_images("sac", encoder="small") for _ in range(2))
    eager.encoder.autocast = compiled.encoder.autocast = torch.bfloat16
    assert compile_networks(compiled, "on", BATCH, pytest.fail, backend="aot_eager")
    expected, metrics = eager.update(seen(0)), compiled.update(seen(0))
    torch.testing.assert_close(metrics["critic_loss"], expected["critic_loss"], rtol=1e-3, atol=1e-4)
    torch._dynamo.reset()


def test_another_dtype_is_refused():
    with pytest.raises(ConfigError, match="autocast must be one of"):
        LearnerConfig("so101_sim", None, autocast="float16")
