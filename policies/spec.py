"""What a policy is made of: sizes and names, sent to every actor, from which both sides build the same network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from policies.encoder_kinds import ENCODERS, EncoderKind
from policies.gripper import Gripper

if TYPE_CHECKING:
    from episodes.contract import Contract
    from policies.policy import Policy

KINDS = ("gaussian", "deterministic")
_OF_NAMES = {"inputs": ("stacks", "sizes"), "images": ("image_stacks", "image_heights", "image_widths")}


class PolicySpecError(ValueError):
    """A policy spec that describes no network that can be built."""


@dataclass(frozen=True)
class PolicySpec:
    """A policy network, as flat settings for the wire (``transport.settings``).

    Attributes:
        kind: ``gaussian``: a tanh-squashed Gaussian (SAC); ``deterministic``: a tanh action with noise (DrQ-v2).
        inputs: Names of the vector features it sees, in this order; may be empty where there are images.
        stacks: Frames stacked of each input.
        sizes: Components of each input after stacking.
        images: Names of the image features it sees, in this order.
        image_stacks: Frames stacked of each image, along its channels.
        image_heights: Height of each image [px].
        image_widths: Width of each image [px].
        encoder: Registered image encoder (``policies.encoder_kinds``); empty where there are no images.
        encoder_size: Features it gives, of all images together.
        encoder_sha256: Of the file that frozen pretrained weights came from; empty where there are none.
        trunk_size: Units of the layer between image features and the rest, where the kind is ``deterministic``.
        action_size: Components of an action, each in [-1, 1].
        gripper: The one of them that a gripper critic chooses (``policies.gripper``); -1 where all are continuous.
        gripper_input: Input that shows its last command; empty where ``gripper`` is -1.
        gripper_place: Of the last command there, counted from the end of the input: -1 is the last component.
        hidden: Units of each hidden layer.
        initial_log_std: Logarithm of the standard deviation before squashing, at initialisation.
        std_min: Least standard deviation before squashing.
        std_max: Greatest standard deviation before squashing.
        clip: Normalised vectors are clipped to [-clip, clip], in standard deviations.
        stall_steps: Steps of standing still after which it acts with noise (``policies.stall``); 0 for never.
    """

    kind: str = "gaussian"
    inputs: tuple[str, ...] = ()
    stacks: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    images: tuple[str, ...] = ()
    image_stacks: tuple[int, ...] = ()
    image_heights: tuple[int, ...] = ()
    image_widths: tuple[int, ...] = ()
    encoder: str = ""
    encoder_size: int = 64
    encoder_sha256: str = ""
    trunk_size: int = 50
    action_size: int = 1
    gripper: int = -1
    gripper_input: str = ""
    gripper_place: int = -1
    hidden: tuple[int, ...] = (256, 256)
    initial_log_std: float = 0.0
    std_min: float = 1e-5
    std_max: float = 5.0
    clip: float = 5.0
    stall_steps: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PolicySpecError(f"policy kind must be one of {KINDS}. Got: {self.kind!r}")
        if not self.inputs and not self.images:
            raise PolicySpecError("a policy needs at least one input or image. Got: inputs=() and images=()")
        if not len(self.inputs) == len(self.stacks) == len(self.sizes):
            raise PolicySpecError(
                "inputs, stacks and sizes must be of one length. "
                f"Got: {len(self.inputs)}, {len(self.stacks)} and {len(self.sizes)}"
            )
        for name, stack, size in zip(self.inputs, self.stacks, self.sizes, strict=True):
            if stack < 1 or size < 1 or size % stack:
                raise PolicySpecError(f"input {name!r} must have a size that its stack divides. Got: {size}, {stack}")
        for key in ("action_size", "trunk_size"):
            if getattr(self, key) < 1:
                raise PolicySpecError(f"{key} must be at least 1. Got: {getattr(self, key)}")
        if not self.hidden or min(self.hidden) < 1:
            raise PolicySpecError(f"hidden must be one or more positive sizes. Got: {self.hidden}")
        if not 0 < self.std_min < self.std_max:
            raise PolicySpecError(f"std_min and std_max must be 0 < min < max. Got: {self.std_min} and {self.std_max}")
        if self.stall_steps < 0 or (self.stall_steps and not self.inputs):
            raise PolicySpecError(
                "stall_steps must be 0, or more where there are inputs to stand still. "
                f"Got: {self.stall_steps} and inputs={self.inputs}"
            )
        _check_images(self)
        _check_gripper(self)

    @property
    def continuous_size(self) -> int:
        """Components of an action but for a gripper that a critic chooses."""
        return self.action_size - (self.gripper >= 0)

    @property
    def discrete_gripper(self) -> Gripper | None:
        """The gripper that a critic chooses; None where all of an action is continuous."""
        return Gripper(self.gripper, self.gripper_input, self.gripper_place) if self.gripper >= 0 else None

    @property
    def vector_size(self) -> int:
        """Components of all vector inputs together, after stacking."""
        return sum(self.sizes)

    @property
    def feature_size(self) -> int:
        """Components of what the layers after normalisation and encoder see: vectors first, then image features."""
        return self.vector_size + (self.encoder_size if self.images else 0)

    @property
    def frames(self) -> dict[str, int]:
        """Frames to stack of every input and image, by name."""
        return dict(zip((*self.inputs, *self.images), (*self.stacks, *self.image_stacks), strict=True))

    @property
    def image_shapes(self) -> dict[str, tuple[int, int, int]]:
        """(height, width, channels) of every stacked image, by name."""
        sizes = zip(self.image_heights, self.image_widths, self.image_stacks, strict=True)
        return {name: (h, w, 3 * stack) for name, (h, w, stack) in zip(self.images, sizes, strict=True)}


def _check_images(spec: PolicySpec) -> None:
    counts = [len(v) for v in (spec.images, spec.image_stacks, spec.image_heights, spec.image_widths)]
    if len(set(counts)) != 1:
        raise PolicySpecError(
            "images, image_stacks, image_heights and image_widths must be of one length. "
            f"Got: {', '.join(map(str, counts))}"
        )
    if not spec.images:
        if spec.encoder or spec.encoder_sha256:
            raise PolicySpecError(
                f"a policy without images has no encoder. Got: {spec.encoder or spec.encoder_sha256!r}"
            )
        return
    kind = encoder_kind(spec.encoder)
    if min(spec.image_stacks) < 1:
        raise PolicySpecError(f"image_stacks must be at least 1. Got: {spec.image_stacks}")
    for name, height, width in zip(spec.images, spec.image_heights, spec.image_widths, strict=True):
        if min(kind.map_size(height, width)) < kind.least_map:
            raise PolicySpecError(f"image {name!r} of {height} x {width} px is too small for encoder {spec.encoder!r}")
    if spec.encoder == "lerobot" and len(set(spec.image_shapes.values())) > 1:
        raise PolicySpecError(f"encoder 'lerobot' needs images of one size and stack. Got: {spec.image_shapes}")
    size, cameras = spec.encoder_size, len(spec.images)
    if not kind.default_size and size != (flat := kind.feature_size(spec.image_heights, spec.image_widths)):
        raise PolicySpecError(f"encoder_size of {spec.encoder!r} must be {flat}, its flattened map. Got: {size}")
    if size < 1 or (kind.per_camera and size % (cameras * kind.multiple)):
        each = "" if kind.multiple == 1 else f" times {kind.multiple}"
        raise PolicySpecError(
            f"encoder_size must be positive and a multiple of the {cameras} image(s){each}. Got: {size}"
        )
    if kind.pretrained and not re.fullmatch("[0-9a-f]{64}", spec.encoder_sha256):
        raise PolicySpecError(
            f"encoder {spec.encoder!r} is pretrained: encoder_sha256 must be that of its weights file, which the "
            f"learner takes from algorithm.encoder_weights. Got: {spec.encoder_sha256!r}"
        )
    if not kind.pretrained and spec.encoder_sha256:
        raise PolicySpecError(f"encoder {spec.encoder!r} is not pretrained. Got: encoder_sha256={spec.encoder_sha256}")


def _check_gripper(spec: PolicySpec) -> None:
    if spec.gripper == -1:
        return
    if not 0 <= spec.gripper < spec.action_size or spec.action_size < 2 or spec.kind != "gaussian":
        raise PolicySpecError(
            "gripper must be a component of an action with others beside it, of a gaussian policy. "
            f"Got: {spec.gripper} of {spec.action_size}, {spec.kind}"
        )
    frames = dict(zip(spec.inputs, zip(spec.sizes, spec.stacks, strict=True), strict=True))
    size, stack = frames.get(spec.gripper_input, (0, 1))
    if not -(size // stack) <= spec.gripper_place < 0:
        raise PolicySpecError(
            "gripper_input and gripper_place must name a component of one frame of an input, from its end. "
            f"Got: {spec.gripper_input!r} and {spec.gripper_place}"
        )


def spec_differences(expected: PolicySpec, actual: PolicySpec) -> list[str]:
    """One line for each field in which two specs differ, but for what follows from the names of others."""
    return value_differences(asdict(expected), asdict(actual))


def value_differences(expected: Mapping[str, object], actual: Mapping[str, object]) -> list[str]:
    """``spec_differences`` of some fields alone, by name."""
    found = [key for key in expected if expected[key] != actual[key]]
    implied = {key for names, keys in _OF_NAMES.items() if names in found for key in keys}
    return [f"{key}: expected {expected[key]!r}, got {actual[key]!r}" for key in found if key not in implied]


def encoder_kind(name: str) -> EncoderKind:
    """The registered encoder of this name. Raises PolicySpecError where there is none."""
    if name not in ENCODERS:
        raise PolicySpecError(f"encoder must be one of {sorted(ENCODERS)}. Got: {name!r}")
    return ENCODERS[name]


def spec_from_contract(
    contract: Contract,
    *,
    kind: str = "gaussian",
    encoder: str = "small",
    encoder_size: int = 0,
    encoder_sha256: str = "",
    trunk_size: int = 50,
    hidden: tuple[int, ...] = (256, 256),
    initial_log_std: float = 0.0,
    std_min: float = 1e-5,
    std_max: float = 5.0,
    clip: float = 5.0,
    stall_steps: int = 0,
    gripper: Gripper | None = None,
) -> PolicySpec:
    """The spec of a policy over every feature that the contract stores.

    Args:
        encoder: Of the images; without any, the three settings of the encoder are left out of the spec.
        encoder_size: 0 for the encoder's own: 64 (``small``), 64 a camera (``keypoints``) or 256 a camera
            (``lerobot``, ``resnet10``, ``resnet18``). ``drqv2`` ends in no layer whose size could be chosen: it always
            gives its flattened map.

        gripper: That a critic chooses; None where all of an action is continuous.

    Raises:
        PolicySpecError: where no such network can be built.
    """
    vectors = [f for f in contract.stored if not f.is_image]
    images = [f for f in contract.stored if f.is_image]
    stacks = tuple(contract.view.stack(f.name) for f in vectors)
    heights, widths = tuple(f.shape[0] for f in images), tuple(f.shape[1] for f in images)
    encoding: dict[str, Any] = {}
    choosing: dict[str, Any] = {}
    if gripper is not None:
        choosing = {
            "gripper": gripper.component,
            "gripper_input": gripper.feature,
            "gripper_place": gripper.place,
        }
    if images:
        chosen = encoder_kind(encoder)
        size = encoder_size if encoder_size and chosen.default_size else chosen.feature_size(heights, widths)
        encoding = {"encoder": encoder, "encoder_size": size, "encoder_sha256": encoder_sha256}
    return PolicySpec(
        kind=kind,
        inputs=tuple(f.name for f in vectors),
        stacks=stacks,
        sizes=tuple(f.shape[0] * stack for f, stack in zip(vectors, stacks, strict=True)),
        images=tuple(f.name for f in images),
        image_stacks=tuple(contract.view.stack(f.name) for f in images),
        image_heights=heights,
        image_widths=widths,
        trunk_size=trunk_size,
        action_size=contract.interface.action.shape[0],
        hidden=hidden,
        initial_log_std=initial_log_std,
        std_min=std_min,
        std_max=std_max,
        clip=clip,
        stall_steps=stall_steps,
        **encoding,
        **choosing,
    )


def build_policy(spec: PolicySpec) -> Policy:
    """The network of a spec, newly initialised from torch's global generator.

    A frozen pretrained encoder is there, and refuses to run until ``policies.pretrained.load_frozen`` gave it its file.
    """
    if spec.kind == "deterministic":
        from policies.deterministic import DeterministicPolicy

        return DeterministicPolicy(spec)
    from policies.gaussian import GaussianPolicy

    return GaussianPolicy(spec)
