"""What a policy is made of: sizes and names, sent to every actor, from which both sides build the same network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from episodes.contract import Contract
    from policies.gaussian import GaussianPolicy


class PolicySpecError(ValueError):
    """A policy spec that describes no network that can be built."""


@dataclass(frozen=True)
class PolicySpec:
    """A policy network, as flat settings for the wire (``transport.settings``).

    Attributes:
        kind: ``gaussian``: a tanh-squashed Gaussian over stacked, normalised vectors.
        inputs: Names of the observation features it sees, in this order.
        stacks: Frames stacked of each input.
        sizes: Components of each input after stacking.
        action_size: Components of an action, each in [-1, 1].
        hidden: Units of each hidden layer (Linear, LayerNorm, ReLU).
        initial_log_std: Logarithm of the standard deviation before squashing, at initialisation.
        std_min: Least standard deviation before squashing.
        std_max: Greatest standard deviation before squashing.
        clip: Normalised inputs are clipped to [-clip, clip], in standard deviations.
    """

    kind: str = "gaussian"
    inputs: tuple[str, ...] = ()
    stacks: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    action_size: int = 1
    hidden: tuple[int, ...] = (256, 256)
    initial_log_std: float = 0.0
    std_min: float = 1e-5
    std_max: float = 5.0
    clip: float = 5.0

    def __post_init__(self) -> None:
        if not self.inputs:
            raise PolicySpecError("a policy needs at least one input. Got: inputs=()")
        if not len(self.inputs) == len(self.stacks) == len(self.sizes):
            raise PolicySpecError(
                "inputs, stacks and sizes must be of one length. "
                f"Got: {len(self.inputs)}, {len(self.stacks)} and {len(self.sizes)}"
            )
        for name, stack, size in zip(self.inputs, self.stacks, self.sizes, strict=True):
            if stack < 1 or size < 1 or size % stack:
                raise PolicySpecError(f"input {name!r} must have a size that its stack divides. Got: {size}, {stack}")
        if self.action_size < 1:
            raise PolicySpecError(f"action_size must be at least 1. Got: {self.action_size}")
        if not self.hidden or min(self.hidden) < 1:
            raise PolicySpecError(f"hidden must be one or more positive sizes. Got: {self.hidden}")
        if not 0 < self.std_min < self.std_max:
            raise PolicySpecError(f"std_min and std_max must be 0 < min < max. Got: {self.std_min} and {self.std_max}")

    @property
    def feature_size(self) -> int:
        """Components of all inputs together, after stacking."""
        return sum(self.sizes)


def spec_from_contract(
    contract: Contract,
    *,
    hidden: tuple[int, ...] = (256, 256),
    initial_log_std: float = 0.0,
    std_min: float = 1e-5,
    std_max: float = 5.0,
    clip: float = 5.0,
) -> PolicySpec:
    """The spec of a policy over every vector of the contract.

    Raises:
        PolicySpecError: where the contract has an image.
    """
    vectors = contract.interface.observations
    if images := [f.name for f in vectors if f.is_image]:
        raise PolicySpecError(
            f"the observation of {contract.interface.task!r} has images, and this version trains on vectors only. "
            f"Use env.obs=state. Got: {images}"
        )
    stacks = tuple(contract.view.stack(f.name) for f in vectors)
    return PolicySpec(
        inputs=tuple(f.name for f in vectors),
        stacks=stacks,
        sizes=tuple(f.shape[0] * stack for f, stack in zip(vectors, stacks, strict=True)),
        action_size=contract.interface.action.shape[0],
        hidden=hidden,
        initial_log_std=initial_log_std,
        std_min=std_min,
        std_max=std_max,
        clip=clip,
    )


def build_policy(spec: PolicySpec) -> GaussianPolicy:
    """The network of a spec, newly initialised from torch's global generator."""
    from policies.gaussian import GaussianPolicy

    if spec.kind != "gaussian":
        raise PolicySpecError(f"policy kind must be 'gaussian'. Got: {spec.kind!r}")
    return GaussianPolicy(spec)
