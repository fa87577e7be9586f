"""The reward of a success classifier: given at the start, or handed out by the learner, swapped between episodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from actor.rewarding import Ending, Judged, without_success
from episodes.contract import Contract
from episodes.outcome import Outcome
from reward.config import ClassifierReward, RewardError
from reward.judge import Classifier, SuccessJudge
from reward.storage import load_classifier, read_classifier

SOURCE, SCORE = "classifier", "score"


def given_classifier(config: ClassifierReward) -> Classifier | None:
    """The classifier that the settings name; None where they leave it to the learner. Raises RewardError."""
    if config.pretrained:
        from reward.lerobot_classifier import load_pretrained

        return load_pretrained(config.pretrained)
    if config.model:
        path = Path(config.model).expanduser()
        return load_classifier(read_classifier(path), str(path))
    return None


class ClassifierRewarding:
    """Success is what the classifier confirms; that of the environment is logged, and neither counts nor ends.

    Args:
        config: Threshold, confirmation, first step and gates.
        contract: Of the environment.
        given: The classifier to begin with; None where the learner hands one out.
        newest: The bytes of a classifier newer than the last one asked for, or None.
        say: Told, in one line, what a person should know.
    """

    asks = False

    def __init__(
        self,
        config: ClassifierReward,
        contract: Contract,
        given: Classifier | None,
        newest: Callable[[], bytes | memoryview | None] = lambda: None,
        say: Callable[[str], None] = print,
    ) -> None:
        self._config, self._contract, self._newest, self._say = config, contract, newest, say
        self._judge = None if given is None else SuccessJudge(given, config, contract)
        self._gates = () if given is None else given.calibration.gates
        self._said: set[str] = set()
        self._score = math.nan

    @property
    def ready(self) -> bool:
        """Whether there is a classifier at all."""
        return self._judge is not None

    @property
    def doing(self) -> str:
        judge = self._judge
        if judge is None:
            return "no classifier yet"
        parts = [f"score {self._score:.3f} of {judge.threshold:.3f}"]
        if judge.fault:
            parts.append("BLIND")
        elif judge.looks.changed:
            parts.append(f"CAMERA CHANGED, {judge.looks.changed}")
        elif judge.drift.drifted:
            parts.append(f"DRIFT {judge.drift.distance:.2f}")
        if judge.closed is not None:
            parts.append(f"gate {judge.closed.name} closed")
        elif judge.streak:
            parts.append(f"{min(judge.streak, judge.confirm)} of {judge.confirm}")
            if judge.early:
                parts.append(f"counts from step {self._config.min_step}")
        return f"{', '.join(parts)}, by {judge.version}"

    def begin_episode(self) -> None:
        if self._judge is not None:
            self._judge.begin_episode()

    def refresh(self) -> None:
        """Takes a newer classifier; keeps the one it has, and says so, where the newer one cannot be used."""
        payload = self._newest()
        if payload is None:
            return
        try:
            classifier = load_classifier(bytes(payload))
            self._judge = SuccessJudge(classifier, self._config, self._contract)
        except (RewardError, RuntimeError) as error:
            kept = "no reward is given" if self._judge is None else f"{self._judge.version} goes on"
            self._say(f"a new classifier cannot be used, {kept}: {error}")
            return
        self._said.clear()
        before, self._gates = self._gates, classifier.calibration.gates
        came, went = set(self._gates) - set(before), set(before) - set(self._gates)
        changes = (("new gates", came), ("gates that no longer hold", went))
        gates = "".join(f"; {what}: {', '.join(sorted(gates))}" for what, gates in changes if gates)
        self._say(f"success is now what classifier {classifier.version} says{gates}")

    def judge(self, observation: Mapping[str, np.ndarray], step: int, env: Ending, timeout: bool, held: bool) -> Judged:
        ending = without_success(env, timeout)
        judge = self._judge
        if judge is None:
            return Judged(((SOURCE, 0.0),), ending)
        found = judge.judge(observation, step, held=held)
        self._score = found.score
        self._warn(judge)
        source = f"{SOURCE}:{judge.version}"
        rewards: tuple[tuple[str, float], ...] = ((source, float(found.success)),)
        if math.isfinite(found.score):
            rewards += ((f"{SCORE}:{judge.version}", found.score),)
        return Judged(rewards, Ending(Outcome.SUCCESS, True, source) if found.success else ending)

    def _warn(self, judge: SuccessJudge) -> None:
        """Says each kind of wrong once for a classifier; ``doing`` shows it as long as it lasts."""
        wrong = f"no success can be seen: {judge.fault}" if judge.fault else ""
        if not wrong and judge.looks.changed:
            wrong = (
                f"{judge.looks.changed}, for classifier {judge.version}. Is it covered, or has the light changed? What "
                "it says of success may be wrong: mend that, or train it anew with frames of now"
            )
        if not wrong and judge.drift.drifted:
            wrong = (
                f"drift: the scores of classifier {judge.version} are no longer like those of its training "
                f"(distance {judge.drift.distance:.2f}). Has the light or a camera changed? Look at its successes with "
                "`tandem label`, and train it anew with frames of now"
            )
        if wrong and wrong.split(":")[0] not in self._said:
            self._said.add(wrong.split(":")[0])
            self._say(wrong)
