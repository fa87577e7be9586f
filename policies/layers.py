"""LayerNorm, offset and ReLU in one differentiable step, for one network or an ensemble; DrQ-v2's initialisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_EPS = 1e-5


class _NormRelu(torch.autograd.Function):
    """Keeps the input and the output only, and passes over memory half as often as three separate operations."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, offset: Tensor) -> Tensor:
        if x.is_cpu:
            mean = x.sum(-1, keepdim=True).div_(x.shape[-1])
            out = x - mean
            norm = torch.linalg.vector_norm(out, dim=-1, keepdim=True)
            rstd = norm.square_().div_(x.shape[-1]).add_(_EPS).rsqrt_()
            out = torch.addcmul(offset, out, rstd, out=out).relu_()
        else:
            out, mean, rstd = torch.native_layer_norm(x, x.shape[-1:], None, None, _EPS)
            out.add_(offset).relu_()
        ctx.save_for_backward(x, mean, rstd, out)
        ctx.offset_shape = offset.shape
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, mean, rstd, out = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradients[0], out, 0)
        offset_gradient = gradient.sum(-2).view(ctx.offset_shape) if ctx.needs_input_grad[1] else None
        x_gradient, _, _ = torch.ops.aten.native_layer_norm_backward(
            gradient, x, x.shape[-1:], mean, rstd, None, None, [True, False, False]
        )
        return x_gradient, offset_gradient


def norm_relu(x: Tensor, offset: Tensor) -> Tensor:
    """``relu(LayerNorm(x) + offset)``, with no gain: before a ReLU the next layer's weights hold it just as well.

    Args:
        x: Shape (B, H), or (E, B, H) for an ensemble.
        offset: Shape (H,), or (E, 1, H).
    """
    if torch.compiler.is_compiling():
        return F.relu(F.layer_norm(x, x.shape[-1:], eps=_EPS) + offset)  # which the compiler makes one step itself
    return _NormRelu.apply(x, offset)


def init_orthogonal(module: nn.Module) -> None:
    """Orthogonal weights, with the gain of a ReLU for convolutions, and zero biases, as DrQ-v2 (arXiv 2107.09645)."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.orthogonal_(part.weight, nn.init.calculate_gain("relu") if isinstance(part, nn.Conv2d) else 1.0)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
