"""`tandem demo`: the whole path on one machine, with the same programs a user starts by hand."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import learner as learner_verb
from cli.composition import Settings, compose_verb, defaults_of
from cli.errors import CAP_REACHED, INTERRUPTED, OK, CommandError, UsageError
from cli.groups import reward_group
from cli.keys import Group, Key, as_text, keys_of
from cli.leaving import leave_on_signals
from episodes.durable import write_durably
from learner.resuming import DEMO_SETTINGS, resume_command

if TYPE_CHECKING:
    from episodes.log_lock import FolderLock

ENV = "so101_sim"
EARLIER_ENDS_S = 10.0
POLL_S = 0.2


@dataclass(frozen=True)
class DemoConfig:
    """Settings of ``tandem demo``, besides those it hands on to the learner.

    Attributes:
        run: Run folder; empty for runs/demo-<time>. That of an earlier demo is resumed.
        seed: Seed of the run.
        obs: What the policy sees: ``state``, ``proprio`` or ``pixels`` (env.obs).
        operator: Who helps: ``scripted`` or ``none``.
        demonstrations: Demonstrations recorded before training; 0 for none.
        final_episodes: Episodes of the final evaluation, on starts never used before.
        film: Whether to film the policy before and after.
    """

    run: str = ""
    seed: int = 0
    obs: str = "pixels"
    operator: str = "scripted"
    demonstrations: int = 20
    final_episodes: int = 50
    film: bool = True

    def __post_init__(self) -> None:
        if self.demonstrations < 0:
            raise ValueError(f"demonstrations must be 0 or more. Got: {self.demonstrations}")
        if self.final_episodes < 1:
            raise ValueError(f"final_episodes must be at least 1. Got: {self.final_episodes}")


OWN = {f.name: f.name for f in dataclasses.fields(DemoConfig)}
MANAGED = ("run", "demos", "resume", "learner.address", "learner.token_path", "learner.console")


def list_keys() -> list[Key]:
    choices = {"obs": ("state", "proprio", "pixels"), "operator": ("scripted", "none")}
    handed_on = [key for key in learner_verb.list_keys() if key.path not in OWN and key.path not in MANAGED]
    return [*keys_of(DemoConfig, OWN, choices=choices), *handed_on]


def list_groups() -> list[Group]:
    env, algorithm = learner_verb.list_groups()
    return [dataclasses.replace(env, options={ENV: env.options[ENV]}), algorithm, reward_group()]


def stored_values(folder: Path) -> dict[str, Any]:
    """Values of the last start in a run folder, by key: the demo's own, and what its learner ran with."""
    learning = learner_verb.stored_values(folder)
    if "env.obs" in learning:
        learning["obs"] = learning["env.obs"]
    try:
        return json.loads((folder / DEMO_SETTINGS).read_text()) | learning
    except FileNotFoundError:
        return learning
    except ValueError as error:
        raise CommandError(f"{folder / DEMO_SETTINGS} cannot be used: {error}") from error


def run(settings: Settings) -> int:
    started_s = time.monotonic()
    if any(argument.startswith("env.obs=") for argument in settings.given):
        raise UsageError("env.obs is set by obs= in a demo")
    config = settings.build(DemoConfig, OWN)
    _check_obs(config.obs, settings.configs["env"].task)
    folder = Path(config.run or f"runs/demo-{time.strftime('%Y%m%d-%H%M%S')}")
    settings.values["run"] = str(folder)
    env_config = dataclasses.replace(settings.configs["env"], obs=config.obs)
    stopped = f"Stopped. {how_to_resume(folder)}"
    leave_on_signals(f"{stopped}\n")
    try:
        return _run(config, settings, folder, env_config, started_s)
    except KeyboardInterrupt:
        print(stopped, flush=True)
        return INTERRUPTED


def how_to_resume(folder: Path) -> str:
    place = shlex.quote(str(folder))
    return f"To go on: make demo RUN={place}, or tandem demo run={place}"


def learner_arguments(settings: Settings) -> list[str]:
    """The settings of a demo that differ from what the learner would take in its folder, as arguments of `tandem
    learner`."""
    keys, groups = learner_verb.list_keys(), learner_verb.list_groups()
    values = _all_values(settings)
    choices = {group.name: settings.choices[group.name] for group in groups}
    defaults = defaults_of("learner", keys, groups, choices, values)
    if settings["run"]:
        defaults |= learner_verb.stored_values(Path(settings["run"]))
    wanted = {k: v for k, v in values.items() if k in defaults and k not in (*MANAGED, *settings.choices)}
    chosen = [f"{group.name}={settings.choices[group.name]}" for group in groups]
    return chosen + [f"{path}={as_text(v)}" for path, v in wanted.items() if as_text(v) != as_text(defaults[path])]


def reward_arguments(settings: Settings) -> list[str]:
    """The reward of a demo as arguments of `tandem record` and `tandem actor`."""
    chosen, config = settings.choices["reward"], settings.configs["reward"]
    fields = [f.name for f in dataclasses.fields(config) if getattr(config, f.name) != f.default]
    return [f"reward={chosen}", *(f"reward.{name}={as_text(getattr(config, name))}" for name in fields)]


def _all_values(settings: Settings) -> dict[str, Any]:
    """Value of every key, those of the groups included, and the choices of the groups."""
    values = {path: value for path, value in settings.values.items() if path != "run"}
    for name, config in settings.configs.items():
        values |= {f"{name}.{f.name}": getattr(config, f.name) for f in dataclasses.fields(config) if f.name != "name"}
    return values | settings.choices | {"env.obs": settings["obs"]}


def _check_obs(obs: str, task: str) -> None:
    """Raises UsageError for observations that no policy of this version learns the task from."""
    if obs == "proprio" and task != "reach":
        raise UsageError(f"obs=proprio with env.task={task}: the cube is not in it. Use obs=pixels or obs=state")


def _check_start(settings: Settings, folder: Path) -> None:
    """Raises for what the learner would refuse, before anything is written. What it can tell only once torch is there,
    ``cli.standby`` tells."""
    from envs.registry import derive_contract
    from learner.disk_plan import check_room

    words = [*learner_arguments(settings), f"run={folder}"]
    keys, groups = learner_verb.list_keys(), learner_verb.list_groups()
    config = learner_verb.learner_config(compose_verb("learner", keys, groups, words, learner_verb.stored_values))
    if not (folder / "run.json").exists():
        check_room(config, derive_contract(config.env, config.env_config), folder)


def _take(folder: Path) -> FolderLock:
    """Keeps other demos off a folder. Raises for one that is not a demo's or is in use.

    Waits for an earlier start of the demo that is ending, and for the learner of one that was killed.
    """
    if (folder / "run.json").exists() and not (folder / DEMO_SETTINGS).exists():
        raise CommandError(
            f"{folder} holds a run that is not a demo's: go on with it by {resume_command(folder)}, or name "
            "another folder for the demo with run=FOLDER"
        )
    lock = _await_lock(folder)
    if (folder / "log").is_dir():
        _await_lock(folder / "log").release()
    return lock


def _await_lock(folder: Path) -> FolderLock:
    """Raises LogError where somebody else holds it for long."""
    from episodes.log_lock import FolderLock
    from episodes.log_segment import LogError

    until_s = 0.0
    while True:
        try:
            return FolderLock(folder)
        except LogError:
            if not until_s:
                print("waiting for an earlier start of this demo to end", flush=True)
                until_s = time.monotonic() + EARLIER_ENDS_S
            if time.monotonic() > until_s:
                raise
        time.sleep(POLL_S)


def _run(config: DemoConfig, settings: Settings, folder: Path, env_config: Any, started_s: float) -> int:
    from cli.summary import load_summary, save_summary, summarise
    from cli.training import TrainingSession
    from metrics.report import write_report

    if summary := load_summary(folder):
        print(f"This demo has ended; run=OTHER_FOLDER starts another.\n\n{_text(summary, folder)}")
        return OK if summary["reached"] else CAP_REACHED
    lock = _take(folder) if folder.is_dir() else None  # held until this process ends
    _check_start(settings, folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock or _take(folder)
    write_durably(folder / DEMO_SETTINGS, (json.dumps(_all_values(settings), indent=1) + "\n").encode())
    session = TrainingSession(
        folder,
        title=f"tandem demo: {env_config.task}, obs={config.obs}, seed={config.seed}, {folder}",
        demonstrations=config.demonstrations,
        recording=[f"env={ENV}", *_env_arguments(env_config), f"seed={config.seed}"],
        learning=learner_arguments(settings),
        operator=config.operator,
        rewarding=reward_arguments(settings),
        started_s=started_s,
    )
    result = session.run(how_to_resume(folder))
    print(f"\nTraining ended: {result.reason}", flush=True)

    from cli.evaluation import best_policy
    from cli.final_evaluation import film, judge
    from learner.run_folder import read_run

    policy = best_policy(folder)
    evaluation, person = judge(folder, ENV, env_config, policy, episodes=config.final_episodes, seed=config.seed)
    summary = summarise(
        folder,
        seed=config.seed,
        obs=config.obs,
        task=env_config.task,
        run_id=str(read_run(folder)["run_id"]),
        evaluation=evaluation,
        person=person,
        first_update_s=result.first_update_s,
        stopped_by_itself=result.stopped_by_itself,
        reason=result.reason,
        utd_ratio=settings.configs["algorithm"].utd_ratio,
    )
    if config.film:
        film(folder, ENV, env_config, policy, seed=config.seed)
    save_summary(folder, summary)
    write_report(folder)
    print(f"\n{_text(summary, folder)}", flush=True)
    return OK if summary["reached"] else CAP_REACHED


def _text(summary: dict[str, Any], folder: Path) -> str:
    from cli.summary import summary_lines
    from metrics.tracker import describe_tracker

    return "\n".join(summary_lines(summary, folder, describe_tracker(folder)))


def _env_arguments(env_config: Any) -> list[str]:
    defaults = type(env_config)()
    return [
        f"env.{f.name}={as_text(getattr(env_config, f.name))}"
        for f in dataclasses.fields(env_config)
        if getattr(env_config, f.name) != getattr(defaults, f.name)
    ]
