"""A success classifier in the simulated SO-101, driven by the scripted person: what it confirmed, and whether rightly.

What ends an episode is the classifier, as in a run; the simulator's success is the referee and ends nothing. A person
drives without looking at the scores, so what the threshold alone would have confirmed, without the gates, is known
from the same episodes: it could only have been earlier.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from episodes.outcome import Purpose
from episodes.seeds import SeedStream, start_seed
from reward.calibration import SECONDS_AN_HOUR, Confirmed
from reward.classifier import SuccessClassifier
from reward.config import ClassifierReward
from reward.drift import EVERY, WINDOW, DriftMonitor
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
    """

    kind: str
    true: list[bool] = field(default_factory=list)
    confirmed: list[bool] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def found(self, frame: int | None, control_hz: float) -> Confirmed:
        """What a rule that confirms at ``frame`` made of it."""
        seen = self.true if frame is None else self.true[: frame + 1]
        right = frame is not None and self.true[frame]
        success = any(self.true) or (not self.kind and self.confirmed[-1])
        return Confirmed("", frame, success, right, sum(not true for true in seen) / control_hz)

    def as_run(self, control_hz: float) -> Confirmed:
        return self.found(len(self.true) - 1 if self.confirmed[-1] else None, control_hz)

    def by_threshold(self, threshold: float, config: ClassifierReward, control_hz: float) -> Confirmed:
        """What the threshold and confirmation alone would have made of it."""
        streak = 0
        for frame, score in enumerate(self.scores):
            streak = streak + 1 if score >= threshold else 0
            if streak >= config.confirm and frame >= config.min_step:
                return self.found(frame, control_hz)
        return self.found(None, control_hz)


class Tape:
    """A sink that keeps what the simulator and the classifier said of every step."""

    def __init__(self) -> None:
        self.episodes: list[Steps] = []
        self.kind = ""

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
        self._tape, self._people, self._played = Tape(), dict[str, Operator](), dict.fromkeys(KINDS, 0)
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
    without success, each as it runs and without the gates; and how often the drift alarm went off."""
    world = World(classifier, seed, **ELSEWHERE)
    each = -(-episodes // len(NEAR_MISSES))
    played = [steps for kind in KINDS for steps in world.play(kind, episodes if not kind else each)]
    print(f"  {len(played)} episodes of as many successes as near misses", flush=True)
    judged = [steps.as_run(world.control_hz) for steps in played]
    bare = [_bare(steps, classifier, world.control_hz) for steps in played]
    found = {"per_episode": confusion(judged)}
    without = {"per_episode": confusion(bare)}
    said_s = 0.0
    while (seconds := sum(c.seconds_failing for c in judged)) < hours * SECONDS_AN_HOUR:
        if seconds >= said_s:
            events = false_positives(judged)["events"]
            print(f"  {seconds / 60:.1f} of {60 * hours:.0f} minutes without success, {events} false", flush=True)
            said_s = seconds + 300.0
        more = [steps for kind in NEAR_MISSES for steps in world.play(kind, _EPISODES_A_ROUND)]
        played += more
        judged += [steps.as_run(world.control_hz) for steps in more]
        bare += [_bare(steps, classifier, world.control_hz) for steps in more]
    world.close()
    found["false_positives_an_hour"] = false_positives(judged)
    without["false_positives_an_hour"] = false_positives(bare)
    drift = alarms((score for steps in played for score in steps.scores), classifier, world.control_hz)
    return {**found, "without_gates": without, "drift": drift}


def unchanged(classifier: SuccessClassifier, seed: int, hours: float) -> dict[str, float]:
    """How often the drift alarm goes off where nothing has changed since the labels: successes and near misses of the
    scripted person, in turn."""
    world = World(classifier, seed)
    scores: list[float] = []
    turn = 0
    while len(scores) < hours * SECONDS_AN_HOUR * world.control_hz:
        for steps in world.play("" if turn % 2 else tuple(NEAR_MISSES)[turn // 2 % len(NEAR_MISSES)], 1):
            scores += steps.scores
        turn += 1
    world.close()
    return alarms(scores, classifier, world.control_hz)


def alarms(scores: Any, classifier: SuccessClassifier, control_hz: float) -> dict[str, float]:
    """What the drift alarm makes of scores in order of time: looks, how many of them warned, how often a warning began,
    the largest distance, and hours. Raises ValueError where scores as float32 are too near 0 and 1 to tell logits."""
    quantiles = (*classifier.calibration.negative_logits, *classifier.calibration.positive_logits)
    if np.abs(quantiles).max() > _LARGEST_LOGIT:
        raise ValueError(f"{classifier.version} has logits beyond {_LARGEST_LOGIT:g}: its scores do not tell them")
    monitor, looks, warned, began, before, largest, count = DriftMonitor(classifier.calibration), 0, 0, 0, False, 0.0, 0
    for count, score in enumerate(scores, start=1):
        monitor.add(_logit(score))
        if count >= WINDOW and count % EVERY == 0:
            looks += 1
            warned += monitor.drifted
            began += monitor.drifted and not before
            before, largest = monitor.drifted, max(largest, monitor.distance)
    hours = count / control_hz / SECONDS_AN_HOUR
    return {"looks": looks, "warned": warned, "began": began, "largest": round(largest, 3), "hours": round(hours, 3)}


def _bare(steps: Steps, classifier: SuccessClassifier, control_hz: float) -> Confirmed:
    own = classifier.calibration
    return steps.by_threshold(own.threshold, ClassifierReward(confirm=own.confirm), control_hz)


def _logit(score: float) -> float:
    with np.errstate(divide="ignore"):
        return float(np.clip(np.log(score) - np.log1p(-score), -_LARGEST_LOGIT, _LARGEST_LOGIT))


def classifier_of(folder: Path) -> SuccessClassifier:
    """The classifier of a folder of `tandem reward train`."""
    from reward.storage import load_classifier, read_classifier

    return load_classifier(read_classifier(folder))
