"""Critic-and-actor updates a second on state, against LeRobot's own SAC classes, in one process, alternated.

    python benchmarks/updates.py

18-d state, 4-d action, batch 256, two critics of 256x256, the actor in every update, one torch thread, CPU.
LeRobot's policy has a state encoder before these layers, which ours has not: the peer does more work. Times are
processor seconds, so that a busy machine disturbs both alike; the ratio is the figure to compare.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from learner.algorithms.sac import SAC
from learner.algorithms.sac_config import SACConfig
from learner.windows import Batch
from policies.spec import PolicySpec

STATE, ACTION, BATCH = 18, 4, 256


def ours() -> Callable[[], object]:
    """One update of ours, on batches as replay hands them over."""
    interface = Interface(
        "benchmark",
        (Feature("observation.state", "float32", (STATE,)),),
        Feature("action", "float32", (ACTION,), low=(-1.0,), high=(1.0,)),
        reward=RewardBounds(True, 0.0, 1.0, True),
    )
    contract = Contract(interface, View((FeatureView("observation.state"),)))
    config = SACConfig(batch_size=BATCH, critic_warmup_updates=0, clone_weight=0.0, actor_every=1, input_noise=0.0)
    spec = PolicySpec(inputs=("observation.state",), stacks=(1,), sizes=(STATE,), action_size=ACTION, hidden=(256, 256))
    sac = SAC(contract, config, spec, device="cpu", seed=0)
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    batches = [
        Batch(
            observation={"observation.state": normal(BATCH, STATE)},
            action=np.tanh(normal(BATCH, ACTION)),
            reward=normal(BATCH),
            discount=np.full(BATCH, 0.97, np.float32),
            next_observation={"observation.state": normal(BATCH, STATE)},
            human=np.zeros(BATCH, bool),
            k=np.ones(BATCH, np.int64),
            demonstration=np.zeros(BATCH, bool),
            proposed=np.tanh(normal(BATCH, ACTION)),
        )
        for _ in range(8)
    ]
    count = 0

    def update() -> object:
        nonlocal count
        count += 1
        return sac.update(batches[count % 8], True)

    return update


def lerobot() -> Callable[[], object]:
    """One update of LeRobot 0.6.1's SACAlgorithm, on batches as its replay buffer hands them over."""
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.gaussian_actor.configuration_gaussian_actor import GaussianActorConfig
    from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorPolicy
    from lerobot.rl.algorithms.sac.configuration_sac import SACAlgorithmConfig
    from lerobot.rl.algorithms.sac.sac_algorithm import SACAlgorithm

    policy_config = GaussianActorConfig(
        input_features={"observation.state": PolicyFeature(FeatureType.STATE, (STATE,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTION,))},
        device="cpu",
    )
    algorithm = SACAlgorithm(GaussianActorPolicy(policy_config), SACAlgorithmConfig.from_policy_config(policy_config))
    algorithm.make_optimizers_and_scheduler()
    torch.manual_seed(0)
    batches = [
        {
            "state": {"observation.state": torch.randn(BATCH, STATE)},
            "next_state": {"observation.state": torch.randn(BATCH, STATE)},
            "action": torch.randn(BATCH, ACTION).tanh(),
            "reward": torch.randn(BATCH),
            "done": torch.zeros(BATCH),
        }
        for _ in range(8)
    ]
    count = 0

    def update() -> object:
        nonlocal count
        count += 1
        return algorithm.update(iter([batches[count % 8]]))

    return update


def seconds(update: Callable[[], object], updates: int) -> float:
    start = time.process_time()
    for _ in range(updates):
        update()
    return (time.process_time() - start) / updates


def measure(rounds: int, updates: int) -> dict:
    """One row of docs/benchmarks.json; every ratio is of two neighbours in time."""
    torch.set_num_threads(1)
    mine, peer = ours(), lerobot()
    seconds(mine, 20), seconds(peer, 20)
    pairs = [(seconds(mine, updates), seconds(peer, updates)) for _ in range(rounds)]
    ratios = sorted(theirs / own for own, theirs in pairs)
    return {
        "name": "critic and actor updates/s, state, batch 256, 2 critics 256x256",
        "unit": "updates per processor second",
        "ours": 1 / median(own for own, _ in pairs),
        "peer": 1 / median(theirs for _, theirs in pairs),
        "ratio": median(ratios),
        "ratio_range": [ratios[0], ratios[-1]],
        "command": "python benchmarks/updates.py",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--updates", type=int, default=30)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.rounds, arguments.updates)))
