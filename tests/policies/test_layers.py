import pytest
import torch
from torch.nn import functional as F

from policies.layers import norm_relu


@pytest.mark.parametrize(("shape", "offset_shape"), [((7, 16), (16,)), ((3, 7, 16), (3, 1, 16))])
def test_equals_layer_norm_then_offset_then_relu(shape, offset_shape):
    torch.manual_seed(0)
    x = (3 * torch.randn(shape, dtype=torch.float64) + 1).requires_grad_()
    offset = (0.3 * torch.randn(offset_shape, dtype=torch.float64)).requires_grad_()
    weight = torch.randn(shape, dtype=torch.float64)
    expected = F.relu(F.layer_norm(x, shape[-1:]) + offset)
    actual = norm_relu(x, offset)
    torch.testing.assert_close(actual, expected)
    expected_gradients = torch.autograd.grad((expected * weight).sum(), (x, offset))
    for got, wanted in zip(torch.autograd.grad((actual * weight).sum(), (x, offset)), expected_gradients, strict=True):
        torch.testing.assert_close(got, wanted)


def test_leaves_its_input_alone():
    x = torch.randn(4, 8)
    before = x.clone()
    norm_relu(x, torch.zeros(8))
    torch.testing.assert_close(x, before)
