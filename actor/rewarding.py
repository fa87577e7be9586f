"""Where the reward of a step comes from, and what ends an episode: the environment, a person or a classifier.

Every source is logged with the step; ``reward.effective`` says which of them counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from envs.teleop.operator import Event
from episodes.contract import Contract
from episodes.outcome import Outcome
from reward.config import EnvReward, HumanReward, RewardConfig, RewardError

PERSON = "person"
VERDICTS = {Event.SUCCESS: Outcome.SUCCESS, Event.FAILURE: Outcome.FAILURE}
ASKING = "time is up. Was it a success? ENTER yes, BACKSPACE no, G go on"


@dataclass(frozen=True)
class Ending:
    """How a step ends its episode, if it does.

    Attributes:
        outcome: None where the episode goes on.
        terminated: The value after the step is zero.
        author: Who says so.
    """

    outcome: Outcome | None = None
    terminated: bool = False
    author: str = "env"

    @property
    def truncated(self) -> bool:
        """The episode stops here and its value is bootstrapped."""
        return self.outcome is not None and not self.terminated


GOES_ON = Ending()


@dataclass(frozen=True)
class Judged:
    """What came of a step: (source, value) of every reward besides the environment's, and how the episode ends."""

    rewards: tuple[tuple[str, float], ...]
    ending: Ending


class Rewarding(Protocol):
    """Judges the steps of one episode after another."""

    asks: bool
    """Whether a person is asked what became of an episode that ran out of time."""

    @property
    def ready(self) -> bool:
        """Whether there is somebody who can say what a step is worth."""

    @property
    def doing(self) -> str:
        """What it sees, in words, for people; empty where it sees nothing."""

    def begin_episode(self) -> None: ...

    def refresh(self) -> None:
        """Called between two episodes, but for those of one evaluation: a newer classifier may be swapped in."""

    def judge(self, observation: Mapping[str, np.ndarray], step: int, env: Ending, timeout: bool, held: bool) -> Judged:
        """What a step was worth.

        Args:
            observation: After the step.
            step: Its index in the episode.
            env: What the environment says.
            timeout: Whether the environment's time is up at this step, whatever else it says.
            held: Safety overrode the step, and the observation may not be of this moment.
        """


class EnvRewarding:
    """The environment's own reward."""

    asks = False
    ready = True
    doing = ""

    def begin_episode(self) -> None:
        pass

    def refresh(self) -> None:
        pass

    def judge(self, observation: Mapping[str, np.ndarray], step: int, env: Ending, timeout: bool, held: bool) -> Judged:
        return Judged((), env)


class HumanRewarding(EnvRewarding):
    """Nothing succeeds but what a person says; the environment's success is logged, and neither counts nor ends."""

    asks = True

    def judge(self, observation: Mapping[str, np.ndarray], step: int, env: Ending, timeout: bool, held: bool) -> Judged:
        return Judged(((PERSON, 0.0),), without_success(env, timeout))


def make_rewarding(
    config: RewardConfig,
    contract: Contract,
    newest: Callable[[], bytes | memoryview | None] | None = None,
    say: Callable[[str], None] = print,
) -> Rewarding:
    """The rewarding of a setting.

    Args:
        config: The setting.
        contract: Of the environment.
        newest: The bytes of a classifier newer than the last one asked for, or None; itself None without a learner.
        say: Told, in one line, what a person should know.

    Raises RewardError where its classifier cannot be used with this contract.
    """
    if isinstance(config, HumanReward):
        return HumanRewarding()
    if isinstance(config, EnvReward):
        return EnvRewarding()
    from actor.classifier_rewarding import ClassifierRewarding, given_classifier

    given = given_classifier(config)
    if given is None and newest is None:
        raise RewardError("reward=classifier needs a classifier here: set reward.model=FOLDER of `tandem reward train`")
    return ClassifierRewarding(config, contract, given, newest or (lambda: None), say)


def verdict_of(events: Iterable[Event]) -> Outcome | None:
    """What a person says of the episode; None where they said nothing of it."""
    return next((VERDICTS[event] for event in events if event in VERDICTS), None)


def with_verdict(judged: Judged, events: Iterable[Event], author: str) -> Judged:
    """``judged``, with what a person says of the step above all else."""
    verdict = verdict_of(events)
    if verdict is None:
        return judged
    rewards = (*judged.rewards, (PERSON, float(verdict is Outcome.SUCCESS)))
    return Judged(rewards, Ending(verdict, True, author))


def without_success(env: Ending, timeout: bool) -> Ending:
    """The environment's ending where its success does not count: a failure or a time-out still ends the episode."""
    if env.outcome is not Outcome.SUCCESS:
        return env
    return Ending(Outcome.TIMEOUT) if timeout else GOES_ON


def ending_of_env(terminated: bool, truncated: bool, info: Mapping[str, Any]) -> Ending:
    """How an environment ends an episode: by its success flag, else as a failure or a time-out."""
    if not (terminated or truncated):
        return GOES_ON
    if bool(np.any(info.get("success", info.get("is_success", False)))):
        return Ending(Outcome.SUCCESS, bool(terminated))
    return Ending(Outcome.FAILURE if terminated else Outcome.TIMEOUT, bool(terminated))
