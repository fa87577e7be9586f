"""The whole state of an algorithm as named tensors and JSON values, loaded completely or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam as functional_adam

from learner.algorithms.ranks import averaged
from policies.snapshot import name_differences


class StateError(ValueError):
    """A saved state that is not the complete state of this algorithm."""


def adam(parameters: list[Any], lr: float) -> torch.optim.Adam:
    """Adam, fused where the device has it, with its moments there from the start so that a state always names them."""
    fused = parameters[0].device.type in ("cpu", "cuda")
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=fused)
    for parameter in parameters:
        optimizer.state[parameter] = {
            "step": torch.zeros((), device=parameter.device if fused else "cpu"),
            "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        }
    return optimizer


def adam_step(optimizer: torch.optim.Adam, parameters: Sequence[Any], gradients: Sequence[Tensor]) -> None:
    """One step of the optimiser of ``parameters`` along the mean over all ranks of ``gradients``, which begin with
    theirs, in order."""
    for parameter, gradient in zip(parameters, averaged(gradients[: len(parameters)]), strict=True):
        parameter.grad = gradient
    group, states = optimizer.param_groups[0], [optimizer.state[parameter] for parameter in parameters]
    # Not optimizer.step(), whose bookkeeping takes longer than the step itself.
    with torch.no_grad():
        functional_adam(
            list(parameters),
            [parameter.grad for parameter in parameters],
            exp_avgs=[state["exp_avg"] for state in states],
            exp_avg_sqs=[state["exp_avg_sq"] for state in states],
            max_exp_avg_sqs=[],
            state_steps=[state["step"] for state in states],
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def adam_tensors(name: str, optimizer: torch.optim.Adam, parameters: Mapping[str, Any]) -> dict[str, Tensor]:
    """Adam's moments and step counts, by ``name`` and the parameter's own name."""
    return {
        f"{name}.{key}.{moment}": value
        for key, parameter in parameters.items()
        for moment, value in optimizer.state[parameter].items()
    }


def save_state(
    tensors: Mapping[str, Tensor], generator: torch.Generator, meta: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Copies on the CPU, the generator's state among them as ``generator``, and the JSON values."""
    saved = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    saved["generator"] = generator.get_state()
    return saved, {**meta, "device": generator.device.type}


def load_state(
    tensors: Mapping[str, Tensor],
    generator: torch.Generator,
    meta: Mapping[str, Any],
    saved: Mapping[str, Tensor],
    saved_meta: Mapping[str, Any],
) -> None:
    """Copies a saved state into ``tensors`` and ``generator``; the caller takes the JSON values.

    Raises:
        StateError: with nothing changed, naming every key that is missing, unexpected or of another type or shape.
    """
    expected_meta = {**meta, "device": generator.device.type}
    faults = [f"{key!r} is missing" for key in expected_meta if key not in saved_meta]
    faults += [f"{key!r} is unexpected" for key in saved_meta if key not in expected_meta]
    faults += [
        f"{key!r} must be {value!r}. Got: {saved_meta[key]!r}"
        for key, value in expected_meta.items()
        if isinstance(value, str) and saved_meta.get(key, value) != value
    ]
    faults += [
        f"{key!r} must be a whole number. Got: {saved_meta[key]!r}"
        for key, value in expected_meta.items()
        if isinstance(value, int) and key in saved_meta and type(saved_meta[key]) is not int
    ]
    if not faults:
        expected = {name: (tuple(value.shape), value.dtype) for name, value in tensors.items()}
        expected["generator"] = (tuple(generator.get_state().shape), torch.uint8)
        faults = name_differences(expected, saved)
    if faults:
        raise StateError("nothing was loaded: " + "; ".join(faults))
    with torch.no_grad():
        for name, value in tensors.items():
            value.copy_(saved[name])
    generator.set_state(saved["generator"])
