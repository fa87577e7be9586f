"""The end of a demo: its policy and the scripted person on start states never used before, and the film."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actor.evaluate import evaluate, read_evaluation
from cli.evaluation import frozen_part, policy_file, write_gif
from cli.step_progress import show_episodes, show_steps
from episodes.outcome import Outcome
from learner.run_folder import plain
from metrics.report import AFTER_GIF, BEFORE_GIF

if TYPE_CHECKING:
    from actor.episode import Episode
    from actor.evaluate import Evaluation

OF_POLICY, OF_PERSON = "evaluation-final.json", "evaluation-operator.json"
FILMED = 2
FILM_FROM = 12


def judge(
    folder: Path, env: str, env_config: Any, policy: Path, *, episodes: int, seed: int
) -> tuple[Evaluation, Evaluation]:
    """The policy and the scripted person on the same starts, also written to ``folder``.

    What an earlier start of the demo has written there of the same policy with the same settings is not done again.
    """
    payload = policy.read_bytes()
    settings = {"env": env, "env_config": plain(env_config), "episodes": episodes, "seed": seed}
    of_policy = settings | {"policy_sha256": hashlib.sha256(payload).hexdigest()}
    of_person = settings | {"operator": "scripted"}

    def found(path: Path, of: dict[str, Any], said: str, **driver: Any) -> Evaluation:
        if kept := read_evaluation(path, of):
            return kept
        print(said, flush=True)
        with show_episodes(episodes) as on_episode:
            done = evaluate(env, env_config, episodes=episodes, seed=seed, on_episode=on_episode, **driver)
        done.write(path, of)
        return done

    said = f"Evaluating {policy} on {episodes} starts never used before ..."
    return (
        found(folder / OF_POLICY, of_policy, said, policy=payload, frozen=frozen_part(folder, payload)),
        found(folder / OF_PERSON, of_person, "The scripted person on the same starts ...", operator="scripted"),
    )


def film(folder: Path, env: str, env_config: Any, policy: Path, *, seed: int) -> None:
    """The first policy and ``policy`` on the same starts: those that the first one fails, where there are such."""
    print("Filming the policy before and after ...", flush=True)
    failed = filmed = 0

    def starts_until_failed() -> Any:
        for index in range(FILM_FROM):
            if failed == FILMED:
                return
            yield index

    def tell(episode: Episode) -> None:
        nonlocal failed, filmed
        failed += episode.outcome is not Outcome.SUCCESS
        filmed += 1
        say(f"episodes filmed: {filmed}")

    try:
        with show_steps() as say:
            frozen = frozen_part(folder, policy.read_bytes())
            shoot = partial(evaluate, env, env_config, seed=seed, render=FILM_FROM, frozen=frozen, on_episode=tell)
            before = shoot(policy=policy_file(folder, "first").read_bytes(), starts=starts_until_failed())
            telling = sorted(range(before.episodes), key=lambda i: before.outcomes[i] == "success")[:FILMED]
            after = shoot(policy=policy.read_bytes(), starts=telling)
        write_gif([before.frames[i] for i in telling], folder / BEFORE_GIF)
        write_gif(after.frames, folder / AFTER_GIF)
    except Exception as error:  # a report without pictures is better than none
        print(f"No GIF in the report: {error}", flush=True)
