"""`tandem eval`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.composition import Settings
from cli.errors import OK, CommandError
from cli.evaluation import POLICIES
from cli.groups import reward_group
from cli.keys import Group, Key, keys_of
from metrics.wilson import wilson_interval


@dataclass(frozen=True)
class EvalConfig:
    """Settings of ``tandem eval``.

    Attributes:
        run: Run folder.
        episodes: Episodes, on start states of the final stream, which neither training nor its evaluations use.
        policy: ``best`` by scheduled evaluations, ``last`` or ``first``, or a policy file (.safetensors).
        seed: Of the start states; null for the run's.
        film: File for a GIF of the first episodes; empty for none.
        film_episodes: Episodes in it.
        out: File for the result as JSON; empty for RUN/evaluation-POLICY.json.
        json: Print the result as one JSON object.
    """

    run: str
    episodes: int = 50
    policy: str = "best"
    seed: int | None = None
    film: str = ""
    film_episodes: int = 2
    out: str = ""
    json: bool = False

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f"episodes must be at least 1. Got: {self.episodes}")


PATHS = {f.name: f.name for f in dataclasses.fields(EvalConfig)}


def list_keys() -> list[Key]:
    return keys_of(EvalConfig, PATHS)


def list_groups() -> list[Group]:
    return [reward_group()]


def run(settings: Settings) -> int:
    from cli.evaluation import environment_of, frozen_part, policy_file, write_gif

    config = settings.build(EvalConfig, PATHS)
    folder = Path(config.run)
    env, env_config, run_seed = environment_of(folder)
    policy = policy_file(folder, config.policy) if config.policy in POLICIES else Path(config.policy)
    if not policy.is_file():
        raise CommandError(f"policy must be one of {', '.join(POLICIES)} or a policy file. Got: {config.policy!r}")
    from actor.evaluate import check_fits, evaluate
    from cli.step_progress import show_episodes
    from envs.registry import derive_contract
    from policies.snapshot import read_snapshot

    payload = policy.read_bytes()
    check_fits(read_snapshot(payload).spec, derive_contract(env, env_config))
    if not config.json:
        print(f"{policy}: {config.episodes} episodes of {env} without a person", flush=True)
    with contextlib.nullcontext(_silent) if config.json else show_episodes(config.episodes) as on_episode:
        result = evaluate(
            env,
            env_config,
            policy=payload,
            frozen=frozen_part(folder, payload),
            episodes=config.episodes,
            seed=run_seed if config.seed is None else config.seed,
            render=config.film_episodes if config.film else 0,
            reward=settings.configs["reward"],
            on_episode=on_episode,
        )
    low, high = wilson_interval(result.successes, result.episodes)
    out = Path(config.out or folder / f"evaluation-{Path(config.policy).stem}.json")
    result.write(out)
    if config.film:
        write_gif(result.frames, Path(config.film))
    if config.json:
        summary = dataclasses.asdict(dataclasses.replace(result, frames=()))
        del summary["frames"]
        print(json.dumps({**summary, "success_rate": result.success_rate, "ci_low": low, "ci_high": high}))
        return OK
    print(
        f"success {result.success_rate:.0%} ({result.successes} of {result.episodes}, 95 % interval {low:.1%} to "
        f"{high:.1%}), mean cycle {result.cycle_steps:.1f} steps, "
        f"mean return {sum(result.returns) / result.episodes:.3g}"
    )
    print(f"{out}" + (f", {config.film}" if config.film else ""))
    return OK


def _silent(episode: Any) -> None: ...
