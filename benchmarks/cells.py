"""The training runs of docs/results.md, most important first: what each is, and what its group is compared with."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from cli import demo
from cli.composition import compose_verb

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "results"
CLONING_ALONE = ("learning=false", "operator=none", "stop.max_env_steps=200", "stop.when_autonomous=false")


@dataclass(frozen=True)
class Group:
    """Runs that are pooled.

    Attributes:
        section: Title of the part of the document it is in.
        what: In words.
        settings: Of `tandem demo`, besides the seed.
        seeds: How many.
        limit_s: Time of one run [s], evaluations included.
    """

    section: str
    what: str
    settings: tuple[str, ...]
    seeds: int = 3
    limit_s: float = 900.0


@dataclass(frozen=True)
class Cell:
    """One training run: the group it is pooled in, and its seed."""

    group: str
    seed: int

    @property
    def folder(self) -> Path:
        return RUNS / f"{self.group}-seed{self.seed}"

    @property
    def arguments(self) -> list[str]:
        """Of `tandem`."""
        own = ["demo", f"seed={self.seed}", f"run={self.folder}", "tracker=none", "film=false"]
        return own + list(GROUPS[self.group].settings)

    def summary(self) -> dict | None:
        path = self.folder / "summary.json"
        return json.loads(path.read_text()) if path.exists() else None


LIFT_CAP = "stop.max_env_steps=3000"


def _lift(obs: str, *settings: str) -> tuple[str, ...]:
    return (f"obs={obs}", LIFT_CAP, *settings)


def _insert(obs: str, steps: int, *settings: str) -> tuple[str, ...]:
    """At a fixed budget of steps: single evaluations of this task move too much to stop by."""
    budget = ("stop.when_autonomous=false", f"stop.max_env_steps={steps}", "stop.max_time_s=0")
    return ("env.task=insert", f"obs={obs}", *budget, *settings)


LIFT_PIXELS, LIFT_STATE = "Lift from pixels", "Lift from state"
INSERT_STATE, INSERT_PIXELS = "Insert from state", "Insert from pixels"
DAGGER = ("algorithm.q_weight=0", "algorithm.clone_filter=false", "algorithm.clone_decay_updates=0")
SELDOM = "evaluation.every_env_steps=3000"  # an evaluation from pixels takes as long as a thousand steps of training
PRECISE = "env.operator_noise=0"
STATE_STEPS, PIXEL_STEPS = 11000, 30000
AS_MANY_UPDATES = f"algorithm.clone_updates={STATE_STEPS + 1000}"  # one a step, after the preset's of cloning
LONG_S, PIXEL_LONG_S = 900.0, 4200.0

GROUPS = {
    "lift-pixels": Group(LIFT_PIXELS, "SAC, 20 demonstrations, interventions, encoder frozen", _lift("pixels"), 10),
    "lift-state": Group(LIFT_STATE, "SAC, 5 demonstrations, interventions", _lift("state"), 10),
    "insert-state": Group(
        INSERT_STATE, "SAC, 20 demonstrations, interventions", _insert("state", STATE_STEPS), 6, limit_s=LONG_S
    ),
    "insert-state-cloning-20": Group(
        INSERT_STATE, "cloning alone, 20 demonstrations", _insert("state", 200, *CLONING_ALONE[:2])
    ),
    "insert-state-cloning-100": Group(
        INSERT_STATE,
        "cloning alone, 100 demonstrations, 3,000 updates",
        _insert("state", 200, *CLONING_ALONE[:2], "demonstrations=100", "algorithm.clone_updates=3000"),
    ),
    "insert-state-cloning-20-long": Group(
        INSERT_STATE,
        "cloning alone, 20 demonstrations, as many updates as SAC",
        _insert("state", 200, *CLONING_ALONE[:2], AS_MANY_UPDATES),
    ),
    "insert-state-cloning-100-long": Group(
        INSERT_STATE,
        "cloning alone, 100 demonstrations, as many updates as SAC",
        _insert("state", 200, *CLONING_ALONE[:2], "demonstrations=100", AS_MANY_UPDATES),
    ),
    "insert-state-dagger": Group(
        INSERT_STATE,
        "DAgger: cloning and the same interventions",
        _insert("state", STATE_STEPS, *DAGGER),
        limit_s=LONG_S,
    ),
    "insert-pixels": Group(
        INSERT_PIXELS,
        "SAC, 20 demonstrations, interventions",
        _insert("pixels", PIXEL_STEPS, SELDOM),
        limit_s=PIXEL_LONG_S,
    ),
    "lift-pixels-cloning": Group(LIFT_PIXELS, "the cloned policy, never updated", _lift("pixels", *CLONING_ALONE)),
    "lift-pixels-few": Group(
        LIFT_PIXELS, "as the first from 5 demonstrations instead of 20", _lift("pixels", "demonstrations=5")
    ),
    "lift-pixels-few-cloning": Group(
        LIFT_PIXELS,
        "the policy cloned from 5 demonstrations, never updated",
        _lift("pixels", "demonstrations=5", *CLONING_ALONE),
    ),
    "lift-pixels-no-interventions": Group(
        LIFT_PIXELS, "as the first without a person in the loop", _lift("pixels", "operator=none")
    ),
    "lift-pixels-no-demonstrations": Group(
        LIFT_PIXELS,
        "with a person, without demonstrations and cloning, encoder trained throughout",
        _lift("pixels", "demonstrations=0"),
    ),
    "lift-pixels-end-to-end": Group(
        LIFT_PIXELS, "SAC, encoder trained throughout", _lift("pixels", "algorithm.encoder_frozen=never")
    ),
    "lift-pixels-drqv2": Group(LIFT_PIXELS, "DrQ-v2", _lift("pixels", "algorithm=drqv2")),
    "insert-state-precise": Group(
        INSERT_STATE, "SAC, with a precise operator", _insert("state", STATE_STEPS, PRECISE), limit_s=LONG_S
    ),
    "insert-state-precise-dagger": Group(
        INSERT_STATE, "DAgger, with a precise operator", _insert("state", STATE_STEPS, PRECISE, *DAGGER), limit_s=LONG_S
    ),
    "insert-state-precise-cloning-20": Group(
        INSERT_STATE,
        "cloning alone, 20 demonstrations of a precise operator",
        _insert("state", 200, *CLONING_ALONE[:2], PRECISE),
    ),
    "insert-pixels-cloning-20": Group(
        INSERT_PIXELS, "cloning alone, 20 demonstrations", _insert("pixels", 200, *CLONING_ALONE[:2])
    ),
    "insert-pixels-cloning-100": Group(
        INSERT_PIXELS,
        "cloning alone, 100 demonstrations, 3,000 updates",
        _insert("pixels", 200, *CLONING_ALONE[:2], "demonstrations=100", "algorithm.clone_updates=3000"),
    ),
    "insert-pixels-dagger": Group(
        INSERT_PIXELS,
        "DAgger: cloning and the same interventions",
        _insert("pixels", PIXEL_STEPS, SELDOM, *DAGGER),
        limit_s=PIXEL_LONG_S,
    ),
    "no-interventions": Group(LIFT_STATE, "as the first without a person in the loop", _lift("state", "operator=none")),
    "no-demonstrations": Group(
        LIFT_STATE, "with a person, without demonstrations and cloning", _lift("state", "demonstrations=0")
    ),
    "learning-off": Group(
        LIFT_STATE,
        "the cloned policy with the person helping, never updated, 3,000 steps",
        _lift("state", "learning=false", LIFT_CAP, "stop.when_autonomous=false"),
    ),
    "cloning-alone": Group(LIFT_STATE, "the cloned policy, never updated", _lift("state", *CLONING_ALONE)),
}


# What changes neither what is learned nor what is measured: keys, or all that begin so.
NOT_COMPARED: tuple[str, ...] = (
    "seed",
    "run",
    "film",
    "tracker",
    "log",
    "evaluation.patience_s",
    "env.render_width",
    "env.render_height",
)
NOT_COMPARED += ("learner.address", "learner.token_path", "learner.tls", "learner.tls_folder", "learner.console")
NOT_COMPARED += ("learner.device", "learner.torch_threads", "learner.compile", "replay.device")
NOT_COMPARED += ("learner.checkpoint_every_s", "learner.keep_checkpoints", "learner.report_every_s")


def decides(key: str) -> bool:
    """Whether runs are comparable only where they have the same value of this setting."""
    return key not in NOT_COMPARED and key.partition(".")[0] not in NOT_COMPARED


@functools.cache
def resolved(group: str) -> dict[str, Any]:
    """Every setting that decides what the runs of a group learn, presets and defaults included, by its key."""
    composed = compose_verb("demo", demo.list_keys(), demo.list_groups(), GROUPS[group].settings)
    values = dict(composed.values)
    for name, config in composed.configs.items():
        values |= {f"{name}.{field.name}": getattr(config, field.name) for field in fields(config)}
    env = replace(composed.configs["env"], obs=composed["obs"])
    played = {"env.obs": env.obs} | ({"env.play_mm": 1000 * env.slot_play_m} if env.task == "insert" else {})
    found = values | composed.choices | played
    return json.loads(json.dumps({key: value for key, value in found.items() if decides(key)}))


def cells() -> list[Cell]:
    """Every run, group by group in the order above."""
    return [Cell(name, seed) for name, group in GROUPS.items() for seed in range(group.seeds)]
