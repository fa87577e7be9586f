from itertools import pairwise

import pytest
import torch

from policies.perceptron import perceptron, plain_perceptron

BATCH, SIZES = 7, (5, 16, 12, 3)


def network(networks, outputs=SIZES[-1], hidden=SIZES[1:-1]):
    """Inputs in two parts, weights, biases and offsets in float64, of one network or an ensemble."""
    torch.manual_seed(0)
    ensemble, row = ((networks,), (1,)) if networks else ((), ())

    def leaf(*shape):
        return torch.randn(shape, dtype=torch.float64).requires_grad_()

    sizes = (SIZES[0], *hidden, outputs)
    return (
        [leaf(BATCH, 2), leaf(BATCH, SIZES[0] - 2)],
        [leaf(*ensemble, o, i) for i, o in pairwise(sizes)],
        [leaf(*ensemble, *row, o) for o in sizes[1:]],
        [leaf(*ensemble, *row, o) for o in hidden],
    )


@pytest.mark.parametrize("networks", [0, 1, 3])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("hidden", [(), (16,), (16, 12)])
def test_values_and_all_gradients_are_those_of_the_plain_form(networks, outputs, hidden):
    parts = network(networks, outputs, hidden)
    leaves = [tensor for part in parts for tensor in part]
    expected, actual = plain_perceptron(*parts), perceptron(*parts)
    torch.testing.assert_close(actual, expected)
    weight = torch.randn_like(expected)
    with torch.no_grad():
        torch.testing.assert_close(perceptron(*parts), expected)
    wanted = torch.autograd.grad(expected, leaves, weight)
    for got, gradient, leaf in zip(torch.autograd.grad(actual, leaves, weight), wanted, leaves, strict=True):
        torch.testing.assert_close(got, gradient)
        assert got.shape == leaf.shape


@pytest.mark.parametrize("wanted", [0, 1])
def test_gives_the_gradient_of_one_input_of_fixed_networks(wanted):
    inputs, *parameters = network(2)
    parameters = [[tensor.detach() for tensor in part] for part in parameters]
    inputs = [tensor if i == wanted else tensor.detach() for i, tensor in enumerate(inputs)]
    (expected,) = torch.autograd.grad(plain_perceptron(inputs, *parameters).sum(), inputs[wanted])
    (actual,) = torch.autograd.grad(perceptron(inputs, *parameters).sum(), inputs[wanted])
    torch.testing.assert_close(actual, expected)


def test_gradients_are_laid_out_as_the_weights():
    """A fused optimiser reads both as one piece of memory, for weights kept as (E, in, out) too."""
    inputs, weights, biases, offsets = network(2)
    kept = [weight.detach().mT.contiguous().requires_grad_() for weight in weights]
    result = perceptron(inputs, [weight.mT for weight in kept], biases, offsets)
    for gradient, weight in zip(torch.autograd.grad(result.sum(), kept), kept, strict=True):
        assert gradient.stride() == weight.stride()


def test_leaves_its_inputs_alone():
    parts = network(2)
    before = [tensor.detach().clone() for part in parts for tensor in part]
    with torch.no_grad():
        perceptron(*parts)
    perceptron(*parts).sum().backward()
    for tensor, old in zip((tensor for part in parts for tensor in part), before, strict=True):
        assert torch.equal(tensor, old)
