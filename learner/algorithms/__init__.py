"""Algorithms by their registered names. Each is one file, and imported when it is used."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from learner.algorithms.drqv2_config import DrQv2Config
from learner.algorithms.sac_config import SACConfig

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from episodes.contract import Contract
    from learner.algorithms.shared_encoder import SharedEncoder
    from learner.replay import Batch
    from policies.gripper import Gripper
    from policies.normalization import Statistics
    from policies.policy import Policy
    from policies.pretrained import WeightsFile
    from policies.snapshot import Snapshot
    from policies.spec import PolicySpec


class Algorithm(Protocol):
    """What the update loop asks of an algorithm.

    An algorithm is built, may be given a policy, is told the statistics of the data once, clones, then updates::

        algorithm = build_algorithm(contract, config, device="auto", seed=0)
        algorithm.freeze_statistics(replay.statistics())
        for _ in range(config.clone_updates):
            algorithm.clone(replay.sample_demonstrations(config.batch_size, algorithm.shift_px))
        while True:
            metrics = algorithm.update(replay.sample(config.batch_size, config.demo_share, algorithm.shift_px))

    Attributes:
        spec: Of the policy.
        policy: The acting policy, being trained.
        ema_policy: Its exponential moving average, for evaluation, best and export.
        encoder: Of the policy's images, as updates see it.
        updates: Critic updates so far.
        device: Where updates run; batches may be numpy arrays or tensors there.
        shift_px: Random shift of images that batches are to come with [px]; 0 without images.
        statistics_frozen: Whether normalisation statistics have been set.
    """

    spec: PolicySpec
    policy: Policy
    ema_policy: Policy
    encoder: SharedEncoder
    updates: int
    device: torch.device
    shift_px: int

    @property
    def statistics_frozen(self) -> bool: ...

    def freeze_statistics(self, statistics: Statistics) -> None: ...

    def load_policy(self, snapshot: Snapshot) -> None: ...

    def clone(self, batch: Batch) -> dict[str, Tensor]: ...

    def update(self, batch: Batch, actor: bool | None = None) -> dict[str, Tensor]: ...

    def images_wanted(self, batch: Batch) -> tuple[np.ndarray, np.ndarray] | None:
        """Of which observations and next observations the next update will look at the images, bool (B,) each; None
        for all."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]: ...

    def load_state(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class AlgorithmEntry:
    """A registered algorithm.

    Attributes:
        config: Its config dataclass.
        module: Where its class is.
        attribute: Name of the class there.
        policy: Kind of its policy (``policies.spec``).
    """

    config: type
    module: str
    attribute: str
    policy: str


ALGORITHMS: dict[str, AlgorithmEntry] = {
    "sac": AlgorithmEntry(SACConfig, "learner.algorithms.sac", "SAC", "gaussian"),
    "drqv2": AlgorithmEntry(DrQv2Config, "learner.algorithms.drqv2", "DrQv2", "deterministic"),
}


def policy_spec(contract: Contract, config: Any) -> PolicySpec:
    """The policy an algorithm's settings ask for under this contract.

    Raises:
        PolicySpecError: where no such network can be built.
        EncoderFileError: where a pretrained encoder's weights cannot be had, or are those of another network.
    """
    from policies.spec import spec_from_contract

    shared = ("initial_log_std", "std_min", "std_max", "encoder", "encoder_size", "trunk_size", "stall_steps")
    settings = {key: getattr(config, key) for key in shared if hasattr(config, key)}
    return spec_from_contract(
        contract,
        kind=ALGORITHMS[config.name].policy,
        hidden=tuple(config.hidden),
        clip=config.input_clip,
        encoder_sha256=encoder_weights(contract, config).sha256,
        gripper=discrete_gripper(contract, config),
        **settings,
    )


def discrete_gripper(contract: Contract, config: Any) -> Gripper | None:
    """The gripper that an algorithm's settings have a critic choose; None where all of an action is continuous.

    Raises:
        PolicySpecError: where the contract has no such gripper.
    """
    from policies.gripper import Gripper, GripperError
    from policies.spec import PolicySpecError

    if getattr(config, "gripper", "continuous") != "discrete":
        return None
    try:
        return Gripper.of(contract)
    except GripperError as error:
        raise PolicySpecError(str(error)) from error


def encoder_weights(contract: Contract, config: Any) -> WeightsFile:
    """The pretrained weights that an algorithm's settings name; empty where its encoder has none.

    Raises:
        PolicySpecError: where there is no such encoder, or weights are named that nothing would use.
        EncoderFileError: where they cannot be had, or are those of another network.
    """
    from policies.encoder_kinds import ENCODERS
    from policies.pretrained import WeightsFile, read_weights_file
    from policies.resnet import EncoderFileError, read_weights
    from policies.spec import PolicySpecError

    if not hasattr(config, "encoder"):
        return WeightsFile(b"", "")
    if config.encoder not in ENCODERS:
        raise PolicySpecError(f"algorithm.encoder must be one of {', '.join(ENCODERS)}. Got: {config.encoder!r}")
    images = any(feature.is_image for feature in contract.stored)
    if not images or not ENCODERS[config.encoder].pretrained:
        if config.encoder_weights or config.encoder_sha256:
            pretrained = " or ".join(name for name, kind in ENCODERS.items() if kind.pretrained)
            why = f"algorithm.encoder must be {pretrained}. Got: {config.encoder!r}" if images else "no image is seen"
            raise PolicySpecError(
                f"nothing would use algorithm.encoder_weights={config.encoder_weights or config.encoder_sha256}: {why}"
            )
        return WeightsFile(b"", "")
    file = read_weights_file(config.encoder_weights, config.encoder_sha256)
    try:
        read_weights(file.data, config.encoder)
    except EncoderFileError as error:
        raise EncoderFileError(f"algorithm.encoder_weights={config.encoder_weights}: {error}") from error
    return file


def build_algorithm(contract: Contract, config: Any, *, device: str = "auto", seed: int = 0) -> Algorithm:
    """The algorithm that ``config.name`` names, newly initialised.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        seed: Of initialisation and of every random number in updates.

    Raises:
        ValueError: where the name is not registered, the device is not there, or a pretrained encoder's weights
            cannot be had.
    """
    from policies.pretrained import load_frozen

    if config.name not in ALGORITHMS:
        raise ValueError(f"algorithm.name must be one of {sorted(ALGORITHMS)}. Got: {config.name!r}")
    entry = ALGORITHMS[config.name]
    kind = getattr(importlib.import_module(entry.module), entry.attribute)
    algorithm: Algorithm = kind(contract, config, policy_spec(contract, config), device=device, seed=seed)
    load_frozen(algorithm.policy, encoder_weights(contract, config).data)
    return algorithm
