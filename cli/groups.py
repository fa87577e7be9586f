"""The groups that verbs share: environments and algorithms, by their registered names."""

from __future__ import annotations

from cli.keys import Group


def env_group(default: str = "so101_sim") -> Group:
    from envs.registry import ENVS

    return Group("env", {name: entry.config() for name, entry in ENVS.items()}, default, "The environment.")


def algorithm_group() -> Group:
    from learner.algorithms import ALGORITHMS

    options = {name: entry.config for name, entry in ALGORITHMS.items()}
    return Group("algorithm", options, "sac", "The algorithm.")


def operators() -> tuple[str, ...]:
    """Names of every operator that some environment has."""
    from envs.registry import ENVS

    return tuple(dict.fromkeys(name for entry in ENVS.values() for name in entry.operators))


def reward_group() -> Group:
    from reward.config import REWARDS

    return Group("reward", dict(REWARDS), "env", "Where the reward and the success of an episode come from.")
