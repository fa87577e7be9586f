"""Algorithms by their registered names. Each is one file, and imported when it is used."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from learner.algorithms.sac_config import SACConfig

if TYPE_CHECKING:
    from torch import Tensor

    from episodes.contract import Contract
    from learner.replay import Batch
    from policies.gaussian import GaussianPolicy
    from policies.normalization import Statistics
    from policies.snapshot import Snapshot
    from policies.spec import PolicySpec


class Algorithm(Protocol):
    """What the update loop asks of an algorithm.

    An algorithm is built, may be given a policy, is told the statistics of the data once, clones, then updates::

        algorithm = build_algorithm(contract, config, device="auto", seed=0)
        algorithm.freeze_statistics(replay.statistics())
        for _ in range(config.clone_updates):
            algorithm.clone(replay.sample_demonstrations(config.batch_size))
        while True:
            metrics = algorithm.update(replay.sample(config.batch_size, config.demo_share))

    Attributes:
        spec: Of the policy.
        policy: The acting policy, being trained.
        ema_policy: Its exponential moving average, for evaluation, best and export.
        updates: Critic updates so far.
        statistics_frozen: Whether normalisation statistics have been set.
    """

    spec: PolicySpec
    policy: GaussianPolicy
    ema_policy: GaussianPolicy
    updates: int

    @property
    def statistics_frozen(self) -> bool: ...

    def freeze_statistics(self, statistics: Statistics) -> None: ...

    def load_policy(self, snapshot: Snapshot) -> None: ...

    def clone(self, batch: Batch) -> dict[str, Tensor]: ...

    def update(self, batch: Batch, actor: bool | None = None) -> dict[str, Tensor]: ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]: ...

    def load_state(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class AlgorithmEntry:
    """A registered algorithm: its config dataclass and where its class is (``module``, ``attribute``)."""

    config: type
    module: str
    attribute: str


ALGORITHMS: dict[str, AlgorithmEntry] = {"sac": AlgorithmEntry(SACConfig, "learner.algorithms.sac", "SAC")}


def policy_spec(contract: Contract, config: Any) -> PolicySpec:
    """The policy an algorithm's settings ask for under this contract."""
    from policies.spec import spec_from_contract

    return spec_from_contract(
        contract,
        hidden=tuple(config.hidden),
        initial_log_std=config.initial_log_std,
        std_min=config.std_min,
        std_max=config.std_max,
        clip=config.input_clip,
    )


def build_algorithm(contract: Contract, config: Any, *, device: str = "auto", seed: int = 0) -> Algorithm:
    """The algorithm that ``config.name`` names, newly initialised.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        seed: Of initialisation and of every random number in updates.

    Raises:
        ValueError: where the name is not registered or the device is not there.
    """
    if config.name not in ALGORITHMS:
        raise ValueError(f"algorithm.name must be one of {sorted(ALGORITHMS)}. Got: {config.name!r}")
    entry = ALGORITHMS[config.name]
    kind = getattr(importlib.import_module(entry.module), entry.attribute)
    return kind(contract, config, policy_spec(contract, config), device=device, seed=seed)
