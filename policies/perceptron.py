"""Layers of Linear, LayerNorm, offset and ReLU and a linear output, as one differentiable function with its gradient
written out: on a CPU, a chain of small operations takes about as long as the matrix products in it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_EPS = 1e-5


def perceptron(
    inputs: Sequence[Tensor], weights: Sequence[Tensor], biases: Sequence[Tensor], offsets: Sequence[Tensor]
) -> Tensor:
    """``relu(LayerNorm(x W' + b) + c)`` for every layer but the last, then ``x W' + b``, of one network or an ensemble.

    LayerNorm has no gain: before a ReLU the next layer's weights hold it just as well.

    Args:
        inputs: The first x in parts that stand side by side, of shape (B, ...) each.
        weights: W of each hidden layer and of the output, shape (out, in), or (E, out, in) for E networks.
        biases: b of the same, shape (out,), or (E, 1, out).
        offsets: c of each hidden layer, shape (out,), or (E, 1, out).

    Returns:
        Shape (B, out), or (E, B, out).
    """
    if torch.compiler.is_compiling():
        return plain_perceptron(inputs, weights, biases, offsets)  # of which the compiler makes few steps itself
    if torch.is_grad_enabled():
        return _Perceptron.apply(len(inputs), len(offsets), *inputs, *weights, *biases, *offsets)
    return _forward(_side_by_side(inputs, weights), weights, biases, offsets)


def plain_perceptron(
    inputs: Sequence[Tensor], weights: Sequence[Tensor], biases: Sequence[Tensor], offsets: Sequence[Tensor]
) -> Tensor:
    """``perceptron`` in torch's own differentiable operations."""
    x = _side_by_side(inputs, weights)
    for weight, bias, offset in zip(weights, biases, offsets, strict=False):
        x = _linear(x, weight, bias)
        x = F.relu(F.layer_norm(x, x.shape[-1:], eps=_EPS) + offset)
    return _linear(x, weights[-1], biases[-1])


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parts: int, depth: int, *tensors: Tensor) -> Tensor:
        counts = (parts, depth + 1, depth + 1, depth)
        inputs, weights, biases, offsets = (tensors[sum(counts[:i]) :][:count] for i, count in enumerate(counts))
        x = _side_by_side(inputs, weights)
        kept: list[Tensor] = []
        result = _forward(x, weights, biases, offsets, kept)
        ctx.widths = [part.shape[-1] for part in inputs]
        ctx.save_for_backward(*weights, x, *kept)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        parts, saved = len(ctx.widths), ctx.saved_tensors
        depth = (len(saved) - 2) // 5
        weights, xs = saved[: depth + 1], saved[depth + 1 :: 4]
        inputs_wanted, trained = ctx.needs_input_grad[2 : 2 + parts], any(ctx.needs_input_grad[2 + parts :])
        by_weight: list[Tensor | None] = [None] * (depth + 1)
        by_bias, by_offset = by_weight.copy(), by_weight[1:]
        for i in range(depth, -1, -1):
            if i < depth:
                z, mean, rstd = saved[depth + 2 + 4 * i : depth + 5 + 4 * i]
                torch.ops.aten.threshold_backward.grad_input(gradient, xs[i + 1], 0, grad_input=gradient)
                if trained:
                    by_offset[i] = _over_batch(gradient)
                gradient = torch.ops.aten.native_layer_norm_backward(
                    gradient, z, z.shape[-1:], mean, rstd, None, None, [True, False, False]
                )[0]
            if trained:
                by_weight[i] = _product(gradient.mT, xs[i], torch.empty_like(weights[i]))
                by_bias[i] = _over_batch(gradient)
            if i:
                gradient = _product(gradient, weights[i])
        by_input = [
            _over_networks(_product(gradient, columns)) if wanted else None
            for columns, wanted in zip(weights[0].split(ctx.widths, -1), inputs_wanted, strict=True)
        ]
        return None, None, *by_input, *by_weight, *by_bias, *by_offset


def _forward(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    offsets: Sequence[Tensor],
    kept: list[Tensor] | None = None,
) -> Tensor:
    """The output; ``kept`` takes of each layer what its gradient needs: z, LayerNorm's mean and 1 / std, and x."""
    for weight, bias, offset in zip(weights, biases, offsets, strict=False):
        z = _linear(x, weight, bias)
        ones, zeros = _neutral(z.shape[-1], z.dtype, z.device)
        if x.ndim == 2:
            x, mean, rstd = torch.native_layer_norm(z, ones.shape, ones, offset, _EPS)
        else:
            x, mean, rstd = torch.native_layer_norm(z, ones.shape, ones, zeros, _EPS)
            x.add_(offset)
        x.relu_()
        if kept is not None:
            kept += (z, mean, rstd, x)
    return _linear(x, weights[-1], biases[-1])


@functools.cache
def _neutral(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """A gain of ones and an offset of zeros: given none, torch's kernel for the CPU takes three times as long."""
    with torch.inference_mode(False):
        return torch.ones(size, dtype=dtype, device=device), torch.zeros(size, dtype=dtype, device=device)


def _side_by_side(inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Shape (B, in), or (E, B, in)."""
    x = inputs[0] if len(inputs) == 1 else torch.cat(tuple(inputs), -1)
    return x if weights[0].ndim == 2 else x.expand(len(weights[0]), -1, -1)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(x, weight, bias) if x.ndim == 2 else torch.baddbmm(bias, x, weight.mT)


def _product(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """Of matrices; into ``out``, whose strides then decide, where it is given."""
    if left.shape[-1] == 1:
        return torch.mul(left, right, out=out)
    return torch.mm(left, right, out=out) if left.ndim == 2 else torch.bmm(left, right, out=out)


def _over_batch(gradient: Tensor) -> Tensor:
    """Summed, to the shape of a bias."""
    return gradient.sum(-2, keepdim=gradient.ndim == 3)


def _over_networks(gradient: Tensor) -> Tensor:
    """Summed, to the shape of an input."""
    return gradient if gradient.ndim == 2 else gradient.sum(0)
