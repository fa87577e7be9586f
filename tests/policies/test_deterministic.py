import numpy as np
import pytest
import torch

from policies.encoders import ImageError
from policies.spec import PolicySpec, build_policy

STATE = PolicySpec(kind="deterministic", inputs=("a", "b"), stacks=(2, 1), sizes=(6, 2), action_size=3, hidden=(32, 16))


def test_from_pixels_it_is_the_actor_of_the_paper_with_vectors_beside(image_spec, tensors):
    torch.manual_seed(0)
    spec = image_spec("drqv2", ((84, 84),), (3,), kind="deterministic")
    policy = build_policy(spec)
    policy.freeze_statistics({"s": (np.arange(5.0), np.full(5, 2.0))}, 0.01)
    seen = tensors(spec)
    weights = {name: value.double() for name, value in policy.state_dict().items()}
    image = policy.encoder(seen).double()
    x = image @ weights["trunk.0.weight"].T + weights["trunk.0.bias"]
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    x = torch.tanh(x * weights["trunk.1.weight"] + weights["trunk.1.bias"])
    x = torch.cat(((seen["s"].double() - torch.arange(5)) / 2, x), -1)
    for layer in ("layers.0", "layers.1"):
        x = (x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]).clamp(min=0)
    expected = torch.tanh(x @ weights["head.weight"].T + weights["head.bias"])
    features = policy.features(seen)
    assert features.shape == (2, 5 + 32 * 35 * 35)
    torch.testing.assert_close(features, torch.cat((policy.vectors(seen), policy.encode(seen)), -1))
    torch.testing.assert_close(policy(features).double(), expected, atol=1e-5, rtol=1e-5)


def test_without_images_it_has_no_trunk():
    policy = build_policy(STATE)
    assert policy.encoder is None
    assert policy.trunk is None
    assert policy(torch.randn(4, 8)).shape == (4, 3)


def test_starts_from_orthogonal_weights(image_spec):
    policy = build_policy(image_spec("drqv2", ((84, 84),), (3,), kind="deterministic"))
    for linear in (policy.trunk[0], policy.layers[1], policy.head):
        rows = linear.weight.detach()
        rows = rows if rows.shape[0] <= rows.shape[1] else rows.T
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-4, rtol=0)
        assert not linear.bias.any()


def test_explores_by_the_standard_deviation_that_travels_with_it(image_spec, observe):
    spec = image_spec("small", kind="deterministic")
    policy, seen = build_policy(spec), observe(spec)
    mean = policy.act(seen, deterministic=True)
    noise = torch.randn(1, 3, generator=torch.Generator().manual_seed(5)).numpy()[0]
    policy.std.fill_(0.25)
    assert "std" in policy.state_dict()
    action = policy.act(seen, generator=torch.Generator().manual_seed(5))
    np.testing.assert_allclose(action, np.clip(mean + 0.25 * noise, -1, 1), atol=1e-6)
    assert action.dtype == np.float32
    policy.std.fill_(100.0)
    assert set(np.abs(policy.act(seen, generator=torch.Generator().manual_seed(5)))) == {np.float32(1)}


def test_a_camera_that_changes_size_is_one_clear_error(image_spec, observe):
    spec = image_spec("small", kind="deterministic")
    policy, seen = build_policy(spec), observe(spec)
    seen["c1"] = seen["c1"][:32]
    with pytest.raises(ImageError, match=r"image 'c1' must be uint8 of shape \(B, 64, 64, 3\).*\(1, 32, 64, 3\)"):
        policy.act(seen)
