"""`tandem learner`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from cli.composition import Settings
from cli.errors import CommandError
from cli.groups import algorithm_group, env_group
from cli.keys import Group, Key, keys_of
from learner.resuming import DEMO_SETTINGS

TOP = {"run": "run", "demos": "demos", "resume": "resume", "tracker": "tracker", "learning": "learning"}
MACHINE = {
    field: f"learner.{field}"
    for field in (
        "address",
        "token_path",
        "tls",
        "tls_folder",
        "device",
        "torch_threads",
        "prefetch",
        "compile",
        "autocast",
        "max_ahead",
        "max_deficit_updates",
        "publish_every",
        "policy_dtype",
        "checkpoint_every_s",
        "keep_checkpoints",
        "report_every_s",
        "console",
    )
}
ACTING = {name: name for name in ("seed", "pacing", "warmup", "warmup_steps", "exploration_share")}
OF_ONE_START = ("run", "resume", "learner.console")
OF_A_DEMO = ("learner.address", "learner.token_path")
"""What `tandem demo` chooses for its learner, anew each time."""
SECTIONS = ("policy", "replay", "log", "evaluation", "stop")
CHOICES = {
    "resume": ("auto", "must", "never"),
    "tracker": ("wandb", "trackio", "none"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "prefetch": ("auto", "on", "off"),
    "compile": ("auto", "off"),
    "autocast": ("off", "bfloat16"),
    "policy_dtype": ("float32", "bfloat16"),
    "pacing": ("auto", "lockstep", "realtime"),
    "warmup": ("policy", "uniform", "operator"),
    "sync": ("commit", "os"),
    "tls": ("auto", "on", "mutual"),
}
REPLAY_CHOICES = {"device": ("auto", "host", "device")}


def list_keys() -> list[Key]:
    from episodes.acting import ActingSettings
    from learner.config import LearnerConfig

    found = [
        *keys_of(LearnerConfig, {"run": "run"}, choices=CHOICES),
        *keys_of(ActingSettings, {"seed": "seed"}),
        *keys_of(LearnerConfig, {k: v for k, v in TOP.items() if k != "run"}, choices=CHOICES),
        *keys_of(ActingSettings, {k: v for k, v in ACTING.items() if k != "seed"}, choices=CHOICES),
        *keys_of(LearnerConfig, MACHINE, choices=CHOICES),
    ]
    for section, kind in _sections().items():
        choices = CHOICES | REPLAY_CHOICES if section == "replay" else CHOICES
        found += keys_of(kind, _paths(section, kind), choices=choices)
    return found


def list_groups() -> list[Group]:
    return [env_group(), algorithm_group()]


def stored_values(folder: Path) -> dict[str, Any]:
    """Values and choices of the last start in a run folder, by key; empty where it holds no run.

    Its actors wait where it listened, with the token that it had; but those of a demo are the demo's.
    Raises CommandError where its config.yaml cannot be read.
    """
    import yaml

    file = folder / "config.yaml"
    try:
        config = yaml.safe_load(file.read_text())
        values = {key: config[field] for field, key in {**TOP, **MACHINE}.items() if field in config}
        acting = config.get("acting", {})
        values |= {key: acting[field] for field, key in ACTING.items() if field in acting}
        nested = {section: config.get(section, {}) for section in SECTIONS} | {"env": config["env_config"]}
        for name, fields in (nested | {"algorithm": config["algorithm"]}).items():
            values |= {f"{name}.{field}": value for field, value in fields.items()}
        values |= {"env": config["env"], "algorithm": config["algorithm"]["name"]}
        left_out = OF_ONE_START + (OF_A_DEMO if (folder / DEMO_SETTINGS).exists() else ())
        return {key: value for key, value in values.items() if key not in left_out}
    except FileNotFoundError:
        return {}
    except (OSError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise CommandError(f"{file} cannot be used: {type(error).__name__}: {error}") from error


def run(settings: Settings) -> int:
    from learner.main import run_learner

    return run_learner(learner_config(settings))


def learner_config(settings: Settings) -> Any:
    """The LearnerConfig of composed settings. Raises UsageError where it refuses a value."""
    from episodes.acting import ActingSettings
    from learner.config import LearnerConfig
    from learner.run_folder import default_run_folder

    sections = {section: settings.build(kind, _paths(section, kind)) for section, kind in _sections().items()}
    if not settings["run"]:
        settings.values["run"] = str(default_run_folder(settings.choices["env"]))
    return settings.build(
        LearnerConfig,
        {**TOP, **MACHINE},
        env=settings.choices["env"],
        env_config=settings.configs["env"],
        algorithm=settings.configs["algorithm"],
        acting=settings.build(ActingSettings, ACTING),
        **sections,
    )


def check_settings(config: Any) -> None:
    """Raises what `tandem learner` would refuse these settings with, whatever the demonstrations; makes nothing."""
    from envs.registry import derive_contract
    from learner.encoder_copy import with_kept_encoder
    from learner.start_check import check_start

    check_start(with_kept_encoder(config), derive_contract(config.env, config.env_config), Path(config.run))


def _sections() -> dict[str, Any]:
    from learner.config import LearnerConfig

    fields = {f.name: f for f in dataclasses.fields(LearnerConfig)}
    return {section: fields[section].default_factory for section in SECTIONS}


def _paths(section: str, kind: Any) -> dict[str, str]:
    return {f.name: f"{section}.{f.name}" for f in dataclasses.fields(kind)}
