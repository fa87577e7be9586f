"""Adam (arXiv 1412.6980): one fused step for all parameters of a network, and a state with names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from learner.algorithms.ranks import averaged

BETAS, EPS = (0.9, 0.999), 1e-8


class Adam:
    """Moments of ``parameters``, there from the start so that a state always names them.

    Not torch.optim.Adam: the bookkeeping of its step takes longer than the step itself, and making one imports the
    compiler, for seconds.

    Attributes:
        lr: Step size.
        state: For each parameter ``exp_avg`` and ``exp_avg_sq``, of its shape, and ``step``, the one count of all.
    """

    def __init__(self, parameters: Sequence[Any], lr: float) -> None:
        self.lr = lr
        step = torch.zeros((), device=parameters[0].device)
        self.state: dict[Any, dict[str, Tensor]] = {
            parameter: {
                "step": step,
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
            for parameter in parameters
        }

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step along the mean over all ranks of ``gradients``, which begin with those of all parameters, in
        order."""
        parameters, states = list(self.state), list(self.state.values())
        gradients = averaged(gradients[: len(parameters)])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        steps = [state["step"] for state in states]
        steps[0] += 1  # which is that of all
        torch._fused_adam_(
            parameters,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=self.lr,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )

    def tensors(self, name: str, parameters: Mapping[str, Any]) -> dict[str, Tensor]:
        """Moments and counts of steps, by ``name`` and the parameter's own name."""
        return {
            f"{name}.{key}.{moment}": value
            for key, parameter in parameters.items()
            for moment, value in self.state[parameter].items()
        }
