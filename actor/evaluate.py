"""``tandem eval``: a policy on start states nothing else has used, with no person and no exploration noise.

With ``algorithm.stall_steps`` the policy acts with noise where it has come to rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from actor.episode import Episode, EpisodeRunner, Plan
from actor.operators import make_operator
from actor.pacing import LockstepPacer
from actor.pilot import Idle, Pilot
from actor.policy_pilot import PolicyPilot
from actor.rewarding import make_rewarding
from actor.safety import Guard
from actor.shared import Board, create_block
from envs.registry import derive_contract, make_env
from envs.teleop.operator import NoOperator, OperatorInput
from episodes.contract import Contract
from episodes.outcome import Outcome, Purpose
from episodes.seeds import SeedStream, start_seed
from policies.snapshot import SnapshotError, read_snapshot
from policies.spec import PolicySpec, value_differences
from reward.config import EnvReward, RewardConfig
from transport import records_pb2 as pb


@dataclass(frozen=True)
class Evaluation:
    """What came of an evaluation.

    Attributes:
        policy_version: Of the policy; 0 for an operator.
        episodes: How many were run.
        successes: How many succeeded.
        cycle_steps: Mean steps of the successful ones; 0 where there is none.
        returns, steps, outcomes, start_seeds: One per episode.
        frames: Rendered frames of the first episodes asked for, uint8 (T, H, W, 3) each; not part of the JSON.
    """

    policy_version: int
    episodes: int
    successes: int
    cycle_steps: float
    returns: tuple[float, ...]
    steps: tuple[int, ...]
    outcomes: tuple[str, ...]
    start_seeds: tuple[int, ...]
    frames: tuple[np.ndarray, ...] = field(default=(), compare=False)

    @property
    def success_rate(self) -> float:
        return self.successes / self.episodes if self.episodes else 0.0

    def write(self, path: Path, of: Mapping[str, Any] = MappingProxyType({})) -> None:
        """As JSON, without frames, whole or not at all. ``of`` says what was evaluated, for ``read_evaluation``."""
        making = path.with_suffix(".making")
        values = asdict(replace(self, frames=())) | {"success_rate": self.success_rate}
        values |= {"of": dict(of)} if of else {}
        del values["frames"]
        making.write_text(json.dumps(values, indent=1))
        making.rename(path)


def read_evaluation(path: Path, of: Mapping[str, Any]) -> Evaluation | None:
    """The evaluation of exactly ``of`` that was written to ``path``; None where there is none."""
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        if values.pop("of") != of:
            return None
        del values["success_rate"]
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return Evaluation(**fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


class _NoSink:
    """Records nothing."""

    def start_episode(self, start: pb.EpisodeStart) -> None: ...
    def begin_step(self, step: pb.Step) -> None: ...
    def finish_step(self, step: pb.Step, observation: list[memoryview]) -> None: ...
    def end_episode(self, end: pb.EpisodeEnd) -> None: ...


def evaluate(
    env: str,
    env_config: Any,
    *,
    policy: bytes = b"",
    frozen: bytes = b"",
    operator: str = "",
    episodes: int = 50,
    seed: int = 0,
    stream: SeedStream = SeedStream.FINAL,
    render: int = 0,
    on_episode: Callable[[Episode], None] = lambda episode: None,
    starts: Iterable[int] | None = None,
    reward: RewardConfig | None = None,
) -> Evaluation:
    """Runs a policy, or an operator in its place, on the same start states for the same seed.

    Args:
        env: Registered name of the environment.
        env_config: Its config.
        policy: A snapshot (policies.snapshot); empty to have the operator drive.
        frozen: The file of its frozen part, where it has one.
        operator: Who drives where there is no policy.
        episodes: How many.
        seed: Of the run.
        stream: Of start states; the final figure's by default.
        render: Of how many episodes frames are kept.
        on_episode: Told after each.
        starts: Numbers of the start states, each asked for when its episode begins; the first ``episodes`` by default.
        reward: Who says what succeeds; the environment by default.

    Raises:
        SnapshotError: the policy is none, or does not fit the environment.
        EnvError: the environment cannot be made here.
    """
    contract = derive_contract(env, env_config)
    pilot: Pilot
    if policy:
        check_fits(read_snapshot(policy).spec, contract)
        payloads: Iterator[bytes] = iter([policy])
        pilot = PolicyPilot(lambda spare_s: next(payloads, None), exploration_share=0.0, frozen=lambda: frozen or None)
    else:
        pilot = Idle(contract.interface.action.shape[0])
    world = make_env(env, env_config, render_mode="rgb_array" if render else None)
    board = Board(create_block(Board.SIZE))
    driver = (
        NoOperator()
        if policy
        else make_operator(operator, world, contract.interface, board=board, seed=seed, demonstrate=True)
    )
    films: list[list[np.ndarray]] = []

    def film(episode: Episode, said: OperatorInput) -> None:
        if len(done) < render:
            films[-1].append(np.asarray(world.render()))

    runner = EpisodeRunner(
        world,
        contract,
        _NoSink(),
        Guard(contract),
        LockstepPacer(),
        on_step=film,
        say=partial(print, flush=True),
        rewarding=make_rewarding(reward or EnvReward(), contract),
    )
    done: list[Episode] = []
    try:
        for index in range(episodes) if starts is None else starts:
            if len(done) < render:
                films.append([])
            plan = Plan(Purpose.EVALUATION, start_seed(seed, stream, "evaluation", index))
            done.append(runner.run(plan, pilot, driver))
            on_episode(done[-1])
    finally:
        world.close()
    cycles = [e.steps for e in done if e.outcome is Outcome.SUCCESS]
    return Evaluation(
        policy_version=pilot.version,
        episodes=len(done),
        successes=len(cycles),
        cycle_steps=float(np.mean(cycles)) if cycles else 0.0,
        returns=tuple(e.episode_return for e in done),
        steps=tuple(e.steps for e in done),
        outcomes=tuple(e.outcome.name.lower() for e in done if e.outcome is not None),
        start_seeds=tuple(e.plan.start_seed for e in done),
        frames=tuple(np.stack(f) for f in films if f),
    )


def check_fits(spec: PolicySpec, contract: Contract) -> None:
    """Raises SnapshotError where a policy's inputs, images or actions are not those of the environment."""
    expected = _seen(contract)
    policy = {key: getattr(spec, key) for key in expected}
    if found := value_differences(expected, policy):
        raise SnapshotError(
            f"the policy does not fit the environment {contract.interface.task}:\n"
            + "\n".join(f"  {line}" for line in found)
            + "\n"
            "Use it with the settings of its run (env.obs, env.cameras, sizes and stacks)"
        )


def _seen(contract: Contract) -> dict[str, object]:
    """What a policy of this contract sees and gives, by field of PolicySpec."""
    vectors = [f for f in contract.stored if not f.is_image]
    images = [f for f in contract.stored if f.is_image]
    stack = contract.view.stack
    return {
        "inputs": tuple(f.name for f in vectors),
        "stacks": tuple(stack(f.name) for f in vectors),
        "sizes": tuple(f.shape[0] * stack(f.name) for f in vectors),
        "images": tuple(f.name for f in images),
        "image_stacks": tuple(stack(f.name) for f in images),
        "image_heights": tuple(f.shape[0] for f in images),
        "image_widths": tuple(f.shape[1] for f in images),
        "action_size": contract.interface.action.shape[0],
    }
