"""Who can take over, by name."""

from __future__ import annotations

from functools import partial

import gymnasium as gym

from actor.device_operator import DeviceOperator
from actor.shared import Board
from envs.errors import EnvError
from envs.registry import env_entry
from envs.teleop.operator import NoOperator, Operator, Supervisor
from episodes.contract import Contract, Interface

DEVICES = ("keyboard",)


def check_operator(name: str, env: str) -> None:
    """Raises EnvError where the environment cannot be driven by this operator."""
    operators = env_entry(env).operators
    if name not in operators:
        raise EnvError(f"operator must be one of {list(operators)} for env={env}. Got: {name!r}")


def make_operator(
    name: str,
    env: gym.Env,
    interface: Interface,
    *,
    board: Board,
    seed: int,
    demonstrate: bool = False,
    judge_steps: int = 0,
    near_miss: str = "",
) -> Operator:
    """The operator of an environment.

    Args:
        name: ``none``, ``scripted`` or ``keyboard``.
        env: What a scripted operator looks at.
        interface: Of the environment.
        board: Where a device's listener writes.
        seed: Of what a scripted operator draws.
        demonstrate: Whether the scripted operator drives whole episodes.
        judge_steps: Steps of success in a row after which the scripted operator ends an episode; 0 for never.
        near_miss: What the scripted operator shows instead of success; empty for success.
    """
    if name in DEVICES:
        return DeviceOperator(board, interface)
    if name == "scripted":
        from envs.teleop.scripted import ScriptedOperator, ScriptedOperatorConfig

        return ScriptedOperator(
            env, ScriptedOperatorConfig(demonstrate=demonstrate, judge_steps=judge_steps, near_miss=near_miss), seed
        )
    return NoOperator()


def person_of(name: str) -> str:
    """Author of what an operator decides: a scripted one is no person."""
    return "operator" if name == "scripted" else "person"


def make_crew(
    name: str, env: gym.Env, contract: Contract, *, board: Board, seed: int, demonstrate: bool, judging: bool
) -> tuple[Operator, Operator, Operator]:
    """Who helps in training, who drives while only a person acts, and who watches evaluations.

    Args:
        name, env, board, seed: As in ``make_operator``.
        contract: Of the environment.
        demonstrate: Whether there are episodes in which only a person acts.
        judging: Whether a person alone says what succeeds.
    """
    make = partial(make_operator, name, env, contract.interface, board=board, seed=seed, judge_steps=int(judging))
    operator = make()
    watched = name in DEVICES or (judging and name != "none")
    return (
        operator,
        make(demonstrate=True) if demonstrate else operator,
        Supervisor(operator, judging=judging) if watched else NoOperator(),
    )
