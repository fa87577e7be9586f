"""torch.compile for the networks of an algorithm, switched on here and nowhere else.

Each network's forward and backward pass is compiled for the one batch size that updates have; on CUDA each is recorded
as a graph, which the CPU then starts with one call. Parameters, optimisers and saved state stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from learner.algorithms import Algorithm


def compile_networks(
    algorithm: Algorithm, choice: str, batch_size: int, say: Callable[[str], None], *, backend: str = "inductor"
) -> bool:
    """Compiles policy, critics, their targets and an encoder that is trained throughout; runs each once, forward and
    backward, on a made-up batch.

    Where compiling fails, all of them go on uncompiled, and ``say`` is told why.

    Args:
        choice: ``off``; ``auto`` for where updates run on CUDA; ``on`` wherever they run.
        batch_size: Of the updates.
        say: Takes a line for the user.
        backend: Of torch.compile.

    Returns:
        Whether they are compiled now.
    """
    if choice == "off" or (choice == "auto" and algorithm.device.type != "cuda"):
        return False
    graphs = algorithm.device.type == "cuda" and backend == "inductor"
    networks = list(_networks(algorithm, batch_size))
    try:
        for network, inputs in networks:
            network.compile(backend=backend, dynamic=False, mode="reduce-overhead" if graphs else None)
            with algorithm.encoder.computing() if network is algorithm.policy.encoder else nullcontext():
                _try(network, inputs)
    except Exception as error:  # whatever a compiler raises: training goes on without it
        for network, _ in networks:
            network._compiled_call_impl = None
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        say(
            f"torch.compile failed, updates run uncompiled and slower ({type(error).__name__}: {reason}); "
            "compile=off leaves it out"
        )
        return False
    if graphs:
        begin_graphs(algorithm)
    return True


def _networks(algorithm: Any, batch_size: int) -> Iterator[tuple[nn.Module, tuple[Any, ...]]]:
    """What updates call, and inputs of the shapes they call it with."""
    spec, device = algorithm.spec, algorithm.device
    features = torch.zeros(batch_size, spec.feature_size, device=device)
    action = torch.zeros(batch_size, spec.continuous_size, device=device)
    yield algorithm.policy, (features,)
    if spec.images and getattr(algorithm.config, "encoder_frozen", "never") == "never":
        # One that is frozen sees as many images as its cache lacks: others in each update.
        vectors = {name: torch.zeros(batch_size, size) for name, size in zip(spec.inputs, spec.sizes, strict=True)}
        images = {name: torch.zeros(batch_size, *shape, dtype=torch.uint8) for name, shape in spec.image_shapes.items()}
        yield algorithm.policy.encoder, ({name: value.to(device) for name, value in (vectors | images).items()},)
    yield algorithm.critic, (features, action)
    if hasattr(algorithm, "fixed_critic"):
        yield algorithm.fixed_critic, (features, action)
    yield algorithm.target, (features, action)
    if gripper := getattr(algorithm, "gripper", None):
        yield gripper.critic, (features,)
        yield gripper.target, (features,)


def _try(network: nn.Module, inputs: tuple[Any, ...]) -> None:
    """One forward pass, and one backward to whatever is trained. Changes nothing."""
    with torch.no_grad():
        network(*inputs)
    parameters = [p for p in network.parameters() if p.requires_grad]
    if parameters:
        outputs = network(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        torch.autograd.grad(sum(output.sum() for output in outputs), parameters, allow_unused=True)


def begin_graphs(algorithm: Any) -> None:
    """What the graphs of one update or cloning update gave may be written over from the start of the next."""
    for name in ("update", "clone"):
        setattr(algorithm, name, _beginning(getattr(algorithm, name)))


def _beginning[**P](update: Callable[P, dict[str, Tensor]]) -> Callable[P, dict[str, Tensor]]:
    def in_graphs(*arguments: P.args, **named: P.kwargs) -> dict[str, Tensor]:
        torch.compiler.cudagraph_mark_step_begin()
        return update(*arguments, **named)

    return in_graphs
