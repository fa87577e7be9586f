"""How the published networks start."""

import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from learner.algorithms import build_algorithm, policy_spec
from learner.algorithms.drqv2_config import DrQv2Config

IMAGE = "observation.images.front"


def test_the_published_network_starts_orthogonal():
    interface = Interface(
        "t",
        (Feature(IMAGE, "uint8", (84, 84, 3)),),
        Feature("action", "float32", (2,), low=(-1.0,), high=(1.0,)),
    )
    ours = build_algorithm(
        Contract(interface, View((FeatureView(IMAGE, stack=3),))), DrQv2Config(), device="cpu", seed=0
    )
    assert ours.spec == policy_spec(Contract(interface, View((FeatureView(IMAGE, stack=3),))), DrQv2Config())
    assert ours.critic.trunk[0].weight.shape == (50, 32 * 35 * 35)
    for name, value in [*ours.policy.named_parameters(), *ours.critic.named_parameters()]:
        if value.ndim == 4:
            assert_orthogonal(value.flatten(1), 2.0, name)
        elif value.ndim == 3 and value.shape[1] > 1:
            for member in value:
                assert_orthogonal(member, 1.0, name)
        elif value.ndim == 2:
            assert_orthogonal(value, 1.0, name)


def assert_orthogonal(matrix, squared_gain, name):
    matrix = matrix.detach()
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wanted = squared_gain * torch.eye(len(matrix))
    torch.testing.assert_close(matrix @ matrix.T, wanted, atol=1e-4, rtol=0, msg=lambda m: f"{name}: {m}")
