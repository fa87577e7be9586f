import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from policies.gaussian import recorded_log_prob, squash
from policies.spec import PolicySpec, build_policy

SPEC = PolicySpec(inputs=("a", "b"), stacks=(2, 1), sizes=(6, 2), action_size=3, hidden=(32, 32), initial_log_std=-1.9)


def observation(seed=0):
    rng = np.random.default_rng(seed)
    return {"b": rng.standard_normal(2).astype(np.float32), "a": rng.standard_normal(6).astype(np.float32)}


def test_log_probability_is_that_of_the_transformed_distribution():
    torch.manual_seed(0)
    mean, log_std, noise = (torch.randn(64, 3, dtype=torch.float64) for _ in range(3))
    action, log_prob = squash(mean, log_std, noise)
    distribution = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform(cache_size=0)])
    inside = action.abs().amax(-1) < 0.9999
    torch.testing.assert_close(log_prob[inside], distribution.log_prob(action).sum(-1)[inside])
    edge = 1e-3
    recorded = recorded_log_prob(mean, log_std, action, edge)
    torch.testing.assert_close(recorded, distribution.log_prob(action.clamp(-1 + edge, 1 - edge)).sum(-1))


def test_recorded_actions_at_the_edges_have_finite_log_probability_and_gradients():
    action = torch.tensor([[1.0, -1.0, 0.0], [1.0, 1.0, -1.0]])
    for std in (1e-2, 0.15, 5.0):
        mean = torch.tensor([[0.0, 8.0, 0.0], [-8.0, 2.0, 0.0]], requires_grad=True)
        log_std = torch.full((2, 3), math.log(std), requires_grad=True)
        log_prob = recorded_log_prob(mean, log_std, action, 1e-2)
        gradients = torch.autograd.grad(log_prob.sum(), (mean, log_std))
        assert torch.isfinite(log_prob).all()
        assert all(torch.isfinite(g).all() for g in gradients), gradients


def test_own_samples_have_finite_log_probability_far_out():
    mean = torch.tensor([[40.0, -40.0]], requires_grad=True)
    action, log_prob = squash(mean, torch.zeros(1, 2), torch.zeros(1, 2))
    assert action.tolist() == [[1.0, -1.0]]
    assert torch.isfinite(log_prob).all()
    assert torch.isfinite(torch.autograd.grad(log_prob.sum(), mean)[0]).all()


def test_acting_is_the_forward_pass_of_one_observation():
    policy = build_policy(SPEC)
    policy.freeze_statistics({"a": (np.ones(3), np.full(3, 2.0)), "b": (np.zeros(2), np.ones(2))}, 0.01)
    seen = observation()
    action = policy.act(seen, deterministic=True)
    assert action.dtype == np.float32
    assert action.shape == (3,)
    features = torch.from_numpy(np.concatenate(((seen["a"] - 1) / 2, seen["b"])))[None]
    mean, log_std = policy(features)
    np.testing.assert_allclose(action, mean.tanh().detach().numpy()[0], atol=1e-6)
    noise = torch.randn(1, 3, generator=torch.Generator().manual_seed(5))
    sampled = policy.act(seen, generator=torch.Generator().manual_seed(5))
    np.testing.assert_allclose(sampled, squash(mean, log_std, noise)[0].detach().numpy()[0], atol=1e-6)


def test_starts_near_the_middle_with_the_asked_standard_deviation():
    _, log_std = build_policy(SPEC)(torch.randn(100, 8))
    assert log_std.mean().item() == pytest.approx(-1.9, abs=0.2)


def test_standard_deviation_is_bounded():
    policy = build_policy(SPEC)
    with torch.no_grad():
        policy.head.bias[3:] = torch.tensor([-100.0, 100.0, 0.0])
    std = policy(torch.zeros(1, 8))[1].exp()
    np.testing.assert_allclose(std[0, :2].detach().numpy(), [1e-5, 5.0], rtol=1e-4)


@pytest.mark.parametrize("encoder", ["small", "keypoints", "lerobot", "drqv2"])
def test_from_pixels_vectors_come_first_and_image_features_after(encoder, image_spec, tensors, observe):
    spec = image_spec(encoder, image_stacks=(2, 2))
    policy, batch = build_policy(spec), tensors(spec, 3)
    features = policy.features(batch)
    assert features.shape == (3, spec.feature_size)
    torch.testing.assert_close(features[:, :5], policy.vectors(batch))
    torch.testing.assert_close(features[:, 5:], policy.encode(batch))
    seen = observe(spec)
    mean, _ = policy(policy.features({name: torch.from_numpy(value)[None] for name, value in seen.items()}))
    np.testing.assert_allclose(
        policy.act(seen, deterministic=True), mean.tanh().detach().numpy()[0], atol=1e-5, rtol=1e-5
    )


def test_acts_on_images_alone_and_on_views_of_other_arrays(image_spec, observe):
    spec = image_spec("small", inputs=(), stacks=(), sizes=())
    policy = build_policy(spec)
    policy.freeze_statistics({}, 0.01)
    assert policy.normalizer.frozen
    seen = observe(spec)
    flipped = {name: np.ascontiguousarray(value[::-1])[::-1] for name, value in seen.items()}
    expected = policy.act(seen, deterministic=True)
    np.testing.assert_array_equal(policy.act(flipped, deterministic=True), expected)


def test_squash_has_the_gradient_of_its_equation():
    torch.manual_seed(0)
    mean, log_std, noise = (torch.randn(6, 3, dtype=torch.float64) for _ in range(3))
    leaves = [mean.requires_grad_(), log_std.requires_grad_()]

    def equation(mean, log_std):
        u = mean + log_std.exp() * noise
        return u.tanh(), Normal(mean, log_std.exp()).log_prob(u).sub((1 - u.tanh().square()).log()).sum(-1)

    weights = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    expected, actual = equation(*leaves), squash(*leaves, noise)
    wanted = torch.autograd.grad(expected, leaves, weights)
    for got, value in zip((*actual, *torch.autograd.grad(actual, leaves, weights)), (*expected, *wanted), strict=True):
        torch.testing.assert_close(got, value)
