"""A success classifier in the simulated SO-101, driven by the scripted person: what it confirmed, and whether rightly.

What ends an episode is the classifier, as in a run; the simulator's success is the referee and ends nothing. A person
drives without looking at the scores, so what the gates alone would have confirmed, without a look at the cameras, is
known from the same episodes: it could only have been earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from actor.classifier_rewarding import SCORE, SOURCE, ClassifierRewarding
from actor.episode import EpisodeRunner, Plan
from actor.operators import make_operator
from actor.pacing import LockstepPacer
from actor.pilot import Idle
from actor.safety import Guard
from actor.shared import Board, create_block
from envs.registry import derive_contract, make_env
from envs.so101_interface import SO101SimConfig
from envs.teleop.operator import Operator
from envs.teleop.scripted_misses import NEAR_MISSES
from episodes.contract import Contract
from episodes.layout import ObservationLayout
from episodes.outcome import Purpose
from episodes.seeds import SeedStream, start_seed
from reward.calibration import SECONDS_AN_HOUR, Confirmed
from reward.classifier import SuccessClassifier
from reward.config import ClassifierReward
from reward.drift import EVERY, WINDOW, DriftMonitor
from reward.gates import parse_gates
from reward.measures import confusion, false_positives
from transport import records_pb2 as pb

ELSEWHERE = {"light_jitter": 0.4, "camera_jitter_m": 0.006, "camera_jitter_deg": 1.0, "cube_colours": True}
"""Settings of the world that no label is from."""
KINDS = ("", *NEAR_MISSES)
_EPISODES_A_ROUND = 10
_LARGEST_LOGIT = 15.0


@dataclass
class Steps:
    """One episode, step by step.

    Attributes:
        kind: Of near miss; empty where the person lifts the cube.
        true: What the simulator says.
        confirmed: What the classifier confirmed.
        scores: Of the classifier.
        allowed: The gates hold.
    """

    kind: str
    true: list[bool] = field(default_factory=list)
    confirmed: list[bool] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    allowed: list[bool] = field(default_factory=list)

    def found(self, frame: int | None, control_hz: float) -> Confirmed:
        """What a rule that confirms at ``frame`` made of it."""
        seen = self.true if frame is None else self.true[: frame + 1]
        right = frame is not None and self.true[frame]
        success = any(self.true) or (not self.kind and self.confirmed[-1])
        return Confirmed("", frame, success, right, sum(not true for true in seen) / control_hz)

    def as_run(self, control_hz: float) -> Confirmed:
        return self.found(len(self.true) - 1 if self.confirmed[-1] else None, control_hz)

    def by_gates(self, config: ClassifierReward, control_hz: float) -> Confirmed:
        """What gates and confirmation alone would have made of it."""
        streak = 0
        for frame, allowed in enumerate(self.allowed):
            streak = streak + 1 if allowed else 0
            if streak >= config.confirm and frame >= config.min_step:
                return self.found(frame, control_hz)
        return self.found(None, control_hz)


class Gates:
    """Those that a classifier was trained with.

    Args:
        classifier: Whose.
        contract: Of the observations.
    """

    def __init__(self, classifier: SuccessClassifier, contract: Contract) -> None:
        self._gates = parse_gates(classifier.calibration.gates, contract)
        self._layout = ObservationLayout(contract.stored)

    def allow(self, observation: Sequence[bytes | memoryview]) -> bool:
        """Whether all hold in an observation as the log has it."""
        shown = self._layout.unpack(cast(Sequence[bytes], observation))
        return all(gate.holds(shown) for gate in self._gates)


class Tape:
    """A sink that keeps what the simulator, the classifier and its gates said of every step."""

    def __init__(self, gates: Gates) -> None:
        self.episodes: list[Steps] = []
        self.kind = ""
        self._gates = gates

    def start_episode(self, start: pb.EpisodeStart) -> None:
        self.episodes.append(Steps(self.kind))

    def begin_step(self, step: pb.Step) -> None:
        pass

    def finish_step(self, step: pb.Step, observation: list[memoryview]) -> None:
        said = {reward.source.partition(":")[0]: reward.value for reward in step.rewards}
        episode = self.episodes[-1]
        episode.true.append(said["env"] > 0.5)
        episode.confirmed.append(said[SOURCE] > 0.5)
        episode.scores.append(said.get(SCORE, float("nan")))
        episode.allowed.append(self._gates.allow(observation))

    def end_episode(self, end: pb.EpisodeEnd) -> None:
        pass


class World:
    """One simulated SO-101 with a classifier as judge.

    Args:
        classifier: Judges.
        seed: Of start states and of what the scripted person draws; none of them is used in training.
        settings: Of the environment.
    """

    def __init__(self, classifier: SuccessClassifier, seed: int, **settings: Any) -> None:
        config = SO101SimConfig(obs="pixels", **settings)
        self._contract = derive_contract("so101_sim", config)
        self._env, self._seed = make_env("so101_sim", config), seed
        self.control_hz = config.control_hz
        self._tape = Tape(Gates(classifier, self._contract))
        self._people, self._played = dict[str, Operator](), dict.fromkeys(KINDS, 0)
        rewarding = ClassifierRewarding(ClassifierReward(), self._contract, classifier, say=lambda text: None)
        self._runner = EpisodeRunner(
            self._env, self._contract, self._tape, Guard(self._contract), LockstepPacer(), rewarding=rewarding
        )

    def close(self) -> None:
        self._env.close()

    def play(self, kind: str, count: int) -> list[Steps]:
        """The next episodes of the scripted person, of success or of one kind of near miss."""
        self._tape.episodes, self._tape.kind = [], kind
        for _ in range(count):
            index = self._played[kind]
            self._played[kind] += 1
            plan = Plan(Purpose.EVALUATION, start_seed(self._seed, SeedStream.FINAL, f"unseen{kind}", index))
            self._runner.run(plan, Idle(self._contract.interface.action.shape[0]), self._person(kind))
        return self._tape.episodes

    def _person(self, kind: str) -> Operator:
        if kind not in self._people:
            self._people[kind] = make_operator(
                "scripted",
                self._env,
                self._contract.interface,
                board=Board(create_block(Board.SIZE)),
                seed=start_seed(self._seed, SeedStream.FINAL, f"person{kind}", 0),
                demonstrate=True,
                near_miss=kind,
            )
        return self._people[kind]


def measure(classifier: SuccessClassifier, seed: int, episodes: int, hours: float) -> dict[str, Any]:
    """Precision and recall of ``episodes`` successes and as many near misses elsewhere, false positives in ``hours``
    without success, each as it runs and by the gates alone; and how often the drift alarm went off."""
    world = World(classifier, seed, **ELSEWHERE)
    each = -(-episodes // len(NEAR_MISSES))
    played = [steps for kind in KINDS for steps in world.play(kind, episodes if not kind else each)]
    print(f"  {len(played)} episodes of as many successes as near misses", flush=True)
    judged = [steps.as_run(world.control_hz) for steps in played]
    alone = [_by_gates(steps, classifier, world.control_hz) for steps in played]
    found = {"per_episode": confusion(judged)}
    by_gates = {"per_episode": confusion(alone)}
    said_s = 0.0
    while (seconds := sum(c.seconds_failing for c in judged)) < hours * SECONDS_AN_HOUR:
        if seconds >= said_s:
            events = false_positives(judged)["events"]
            print(f"  {seconds / 60:.1f} of {60 * hours:.0f} minutes without success, {events} false", flush=True)
            said_s = seconds + 300.0
        more = [steps for kind in NEAR_MISSES for steps in world.play(kind, _EPISODES_A_ROUND)]
        played += more
        judged += [steps.as_run(world.control_hz) for steps in more]
        alone += [_by_gates(steps, classifier, world.control_hz) for steps in more]
    world.close()
    found["false_positives_an_hour"] = false_positives(judged)
    by_gates["false_positives_an_hour"] = false_positives(alone)
    return {**found, "gates_alone": by_gates, "drift": alarms(_looked_at(played), classifier, world.control_hz)}


def unchanged(classifier: SuccessClassifier, seed: int, hours: float) -> dict[str, float]:
    """How often the drift alarm goes off where nothing has changed since the labels: successes and near misses of the
    scripted person, in turn."""
    world = World(classifier, seed)
    played: list[Steps] = []
    turn = frames = 0
    while frames < hours * SECONDS_AN_HOUR * world.control_hz:
        played += world.play("" if turn % 2 else tuple(NEAR_MISSES)[turn // 2 % len(NEAR_MISSES)], 1)
        frames += len(played[-1].scores)
        turn += 1
    world.close()
    return alarms(_looked_at(played), classifier, world.control_hz)


def alarms(scores: Iterable[tuple[float, bool]], classifier: SuccessClassifier, control_hz: float) -> dict[str, float]:
    """What the drift alarm makes of scores in order of time, each with whether the gates held: looks, how many of them
    warned, how often a warning began, the largest distance, and hours, in which it saw ``frames``.

    Raises ValueError where scores as float32 are too near 0 and 1 to tell logits.
    """
    quantiles = (*classifier.calibration.negative_logits, *classifier.calibration.positive_logits)
    if np.abs(quantiles).max() > _LARGEST_LOGIT:
        raise ValueError(f"{classifier.version} has logits beyond {_LARGEST_LOGIT:g}: its scores do not tell them")
    monitor, looks, warned, began, before, largest = DriftMonitor(classifier.calibration), 0, 0, 0, False, 0.0
    every, frames = 0, 0
    for score, allowed in scores:
        every += 1
        if not allowed or not np.isfinite(score):
            continue
        frames += 1
        monitor.add(_logit(score))
        if frames >= WINDOW and frames % EVERY == 0:
            looks += 1
            warned += monitor.drifted
            began += monitor.drifted and not before
            before, largest = monitor.drifted, max(largest, monitor.distance)
    hours = every / control_hz / SECONDS_AN_HOUR
    counts = {"frames": frames, "looks": looks, "warned": warned, "began": began}
    return {**counts, "largest": round(largest, 3), "hours": round(hours, 3)}


def _looked_at(played: Iterable[Steps]) -> Iterator[tuple[float, bool]]:
    for steps in played:
        yield from zip(steps.scores, steps.allowed, strict=True)


def _by_gates(steps: Steps, classifier: SuccessClassifier, control_hz: float) -> Confirmed:
    return steps.by_gates(ClassifierReward(confirm=classifier.calibration.confirm), control_hz)


def _logit(score: float) -> float:
    with np.errstate(divide="ignore"):
        return float(np.clip(np.log(score) - np.log1p(-score), -_LARGEST_LOGIT, _LARGEST_LOGIT))


def classifier_of(folder: Path) -> SuccessClassifier:
    """The classifier of a folder of `tandem reward train`."""
    from reward.storage import load_classifier, read_classifier

    return load_classifier(read_classifier(folder))
