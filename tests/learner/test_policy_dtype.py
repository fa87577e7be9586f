"""policy_dtype=bfloat16: half the bytes, and actions that a motor cannot tell apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from learner.checkpoint import newest_checkpoint
from policies.snapshot import load_snapshot, read_snapshot, save_snapshot
from policies.spec import PolicySpec, build_policy
from tests.learner.training_run import CONFIG, started, update

STATE, FRONT = "observation.state", "observation.images.front"


@pytest.mark.parametrize("images", [(), (FRONT,)])
@pytest.mark.parametrize("kind", ["gaussian", "deterministic"])
def test_actions_agree_to_a_hundredth_of_their_range(kind, images):
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    sides = (64,) * len(images)
    policy = build_policy(
        PolicySpec(
            kind=kind,
            inputs=(STATE,),
            stacks=(1,),
            sizes=(18,),
            action_size=4,
            hidden=(256, 256),
            images=images,
            image_stacks=(1,) * len(images),
            image_heights=sides,
            image_widths=sides,
            encoder="small" if images else "",
        )
    )
    policy.freeze_statistics({STATE: (random.standard_normal(18), random.uniform(0.5, 2, 18))}, 0.01)
    whole, half = save_snapshot(policy, 1), save_snapshot(policy, 1, dtype="bfloat16")
    assert len(half) < 0.52 * len(whole)
    _, _, loaded = load_snapshot(half)
    errors = []
    for _ in range(100):
        seen = {STATE: random.standard_normal(18).astype(np.float32)}
        seen |= {name: random.integers(0, 256, (64, 64, 3), np.uint8) for name in images}
        errors.append(np.abs(policy.act(seen, deterministic=True) - loaded.act(seen, deterministic=True)).max())
    assert max(errors) < 0.01
    assert max(errors) > 0


def test_the_setting_halves_what_is_published_and_neither_what_is_saved_nor_what_is_trained(tmp_path):
    with started(tmp_path, replace(CONFIG, policy_dtype="bfloat16")) as (run, arm):
        arm.episode(30)
        arm.flush()
        update(run.trainer, 10)
        run.trainer.publish()
        run.trainer.save()
        run.trainer.writer.flush(10)
        published = run.publisher.newer("", 0, 0)
        assert published is not None
        trained = dict(run.trainer.algorithm.policy.named_parameters())
        for name, value in read_snapshot(published.payload).tensors.items():
            if name in trained:
                assert torch.equal(value, trained[name].bfloat16().float()), name
        assert any(not torch.equal(v, v.bfloat16().float()) for v in trained.values())
        checkpoint = newest_checkpoint(run.folder.checkpoints)
        assert checkpoint is not None
        kept = read_snapshot((checkpoint / "policy.safetensors").read_bytes()).tensors
        average = run.trainer.algorithm.ema_policy.state_dict()
        assert all(torch.equal(value, average[name]) for name, value in kept.items())
        assert any(not torch.equal(v, v.bfloat16().float()) for v in kept.values() if v.is_floating_point())
