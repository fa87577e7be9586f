"""One episode, step by step: the policy proposes, a person may override, safety clamps, the environment executes.

Training, evaluation and demonstrations all run through here; they differ in who proposes and who may take over.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, cast

import gymnasium as gym
import numpy as np

from actor.pacing import Pacer
from actor.pilot import Pilot
from actor.rewarding import ASKING, EnvRewarding, Rewarding, ending_of_env, verdict_of, with_verdict
from actor.safety import Guard
from envs.teleop.operator import Event, Operator, OperatorInput
from episodes.contract import Contract
from episodes.layout import ObservationLayout
from episodes.outcome import Held, Outcome, Purpose
from reward.effective import step_reward
from transport import records_pb2 as pb

_PAUSED_POLL_S = 0.02


class ResetError(RuntimeError):
    """An environment whose first observations are not whole."""


class Sink(Protocol):
    """Where an episode is recorded. ``begin_step`` comes before ``env.step``, ``finish_step`` after it,
    with the observation after the step as ``ObservationLayout.views`` gives it.
    """

    def start_episode(self, start: pb.EpisodeStart) -> None: ...
    def begin_step(self, step: pb.Step) -> None: ...
    def finish_step(self, step: pb.Step, observation: list[memoryview]) -> None: ...
    def end_episode(self, end: pb.EpisodeEnd) -> None: ...


@dataclass(frozen=True)
class Plan:
    """Why an episode is run and where it starts."""

    purpose: Purpose
    start_seed: int
    evaluation_id: int = 0


@dataclass
class Episode:
    """What came of an episode, up to date while it runs.

    Attributes:
        episode_id: 32 hexadecimal digits.
        steps: Executed steps, of which ``human_steps`` by a person and ``held_steps`` overridden by safety.
        episode_return: Undiscounted sum of the rewards that count.
        outcome: None while it runs.
        again: A person wants the same start once more.
        stop: A person wants the run to end.
    """

    episode_id: str
    plan: Plan
    steps: int = 0
    human_steps: int = 0
    held_steps: int = 0
    episode_return: float = 0.0
    outcome: Outcome | None = None
    again: bool = False
    stop: bool = False


class EpisodeRunner:
    """Runs episodes of one environment.

    Args:
        env: From envs.registry.make_env.
        contract: Of the environment.
        sink: Where steps go.
        guard: Limits and faults.
        pacer: When steps begin.
        gate: Asked before every step; blocks while it may not be taken; returns why to cut the episode, or nothing.
        on_step: Told after every step, with what the operator said.
        say: Told, in one line, when a camera is lost.
        person: Author of what the operator decides, ``person`` or ``operator``.
        rewarding: Where the reward comes from; the environment's own by default.
    """

    def __init__(
        self,
        env: gym.Env,
        contract: Contract,
        sink: Sink,
        guard: Guard,
        pacer: Pacer,
        *,
        gate: Callable[[Purpose], str] = lambda purpose: "",
        on_step: Callable[[Episode, OperatorInput], None] = lambda episode, said: None,
        say: Callable[[str], None] = lambda text: None,
        person: str = "person",
        rewarding: Rewarding | None = None,
    ) -> None:
        self.env = env
        self.rewarding = rewarding or EnvRewarding()
        self.layout = ObservationLayout(contract.stored)
        self.sink = sink
        self.guard = guard
        self.pacer = pacer
        self.gate = gate
        self.on_step = on_step
        self.say = say
        self.person = person

    def run(self, plan: Plan, pilot: Pilot, operator: Operator) -> Episode:
        """Runs one episode to its end and records it. Whatever the environment raises passes through.

        Raises ResetError where the environment starts with observations that are not finite, or lack an image.
        """
        observation = self._reset(plan.start_seed)
        episode = Episode(uuid.uuid4().hex, plan)
        self.guard.begin_episode(observation)
        pilot.refresh()
        pilot.begin_episode(observation)
        operator.begin_episode()
        if plan.purpose is not Purpose.EVALUATION:  # one classifier judges all of an evaluation
            self.rewarding.refresh()
        self.rewarding.begin_episode()
        self.sink.start_episode(
            pb.EpisodeStart(
                episode_id=episode.episode_id,
                purpose=cast(pb.Purpose, int(plan.purpose)),
                start_seed=plan.start_seed,
                observation=self.layout.pack(observation),
                time_ns=time.time_ns(),
                evaluation_id=plan.evaluation_id,
                policy_version=pilot.version,
            )
        )
        self.pacer.restart()
        author = self._steps(episode, observation, pilot, operator)
        if self.rewarding.asks and episode.outcome is Outcome.TIMEOUT:
            author = self._asked(episode, operator, author)
        assert episode.outcome is not None
        self.sink.end_episode(
            pb.EpisodeEnd(
                episode_id=episode.episode_id,
                outcome=cast(pb.Outcome, int(episode.outcome)),
                author=author,
                steps=episode.steps,
                time_ns=time.time_ns(),
            )
        )
        return episode

    def _steps(self, episode: Episode, observation: dict[str, np.ndarray], pilot: Pilot, operator: Operator) -> str:
        """Steps until the episode has an outcome. Returns who decided it."""
        fault = Held.NO
        while True:
            if self.guard.blind:
                self.say(f"the episode is cut here: {self.guard.lost_camera}")
            if self.guard.blind or self.gate(episode.plan.purpose):
                episode.outcome = Outcome.CUT
                return "actor"
            late_ms = self.pacer.wait(pilot.refresh)
            pilot.refresh(self.pacer.spare_s)  # a small policy that came in the last moment acts in this step
            proposed = pilot.propose() if fault is Held.NO else self.guard.hold()
            fault = fault or self.guard.fault_of_action(proposed)
            said = operator.poll(observation, np.where(np.isfinite(proposed), proposed, 0).astype(np.float32))
            if self._ended_by_person(episode, said):
                return self.person
            if Event.PAUSE in said.events:
                if not self._resumed(episode, operator):
                    return self.person
                continue  # what was chosen before the pause is not executed after it
            if pilot.hands_off and said.action is None and not said.lost:
                self.on_step(episode, said)
                time.sleep(_PAUSED_POLL_S)
                self.pacer.restart()
                continue
            step = self._decided(episode, pilot, proposed, said, fault)
            step.period_error_ms = late_ms
            self.sink.begin_step(step)
            began = time.monotonic()
            raw, reward, terminated, truncated, info = self.env.step(np.asarray(step.sent, np.float32))
            took_s = time.monotonic() - began
            observed = {name: np.array(value) for name, value in raw.items()}
            before, fault = fault, self.guard.fault_of_observation(observed, info)
            if fault is Held.LOST_CAMERA and before is not Held.LOST_CAMERA:
                self.say(f"the robot holds still until a camera is back: {self.guard.lost_camera}")
            if fault not in (Held.NAN_OBSERVATION, Held.LOST_CAMERA):
                observation = observed
            reward = float(reward)
            if not np.isfinite(reward):
                fault, reward = fault or Held.NAN_OBSERVATION, 0.0
            step.held = _held(Held(step.held) or fault or self.guard.fault_of_duration(took_s))
            if "sent_action" in info:
                step.sent[:] = np.asarray(info["sent_action"], np.float32).tolist()
            env = ending_of_env(terminated, truncated, info)
            judged = self.rewarding.judge(observation, episode.steps, env, bool(truncated), bool(step.held))
            judged = with_verdict(judged, said.events, self.person)
            rewards = (("env", reward), *judged.rewards)
            step.rewards.extend(pb.Reward(source=source, value=value) for source, value in rewards)
            step.terminated, step.truncated = judged.ending.terminated, judged.ending.truncated
            self.sink.finish_step(step, self.layout.views(observation))
            episode.steps += 1
            episode.human_steps += step.human
            episode.held_steps += step.held != Held.NO
            episode.episode_return += step_reward(step.rewards)
            episode.outcome = judged.ending.outcome
            self.on_step(episode, said)
            if episode.outcome is not None:
                return judged.ending.author
            pilot.observe(observation)

    def _asked(self, episode: Episode, operator: Operator, author: str) -> str:
        """What became of an episode that ran out of time, if the person says. Returns who decided it."""
        while not self.gate(episode.plan.purpose):
            said = operator.between_episodes()
            episode.stop = Event.STOP in said.events
            if (verdict := verdict_of(said.events)) is not None:
                episode.outcome = verdict
                return self.person
            if episode.stop or Event.READY in said.events:
                break
            self.on_step(episode, replace(said, doing=ASKING))
            time.sleep(_PAUSED_POLL_S)
        return author

    def _decided(
        self, episode: Episode, pilot: Pilot, proposed: np.ndarray, said: OperatorInput, fault: Held
    ) -> pb.Step:
        """The step up to its execution: three actions, who chose, and whether safety overrode."""
        human = said.action is not None
        chosen = proposed if said.action is None else said.action
        if said.lost:
            fault = Held.LOST_DEVICE
        elif human and fault in (Held.NO, Held.NAN_ACTION):
            fault = self.guard.fault_of_action(chosen)
        if fault is not Held.NO:
            chosen, human = self.guard.hold(), False
        elif human:
            chosen = pilot.expressed(chosen)
        proposed = proposed if np.isfinite(proposed).all() else self.guard.hold()
        chosen = self.guard.choose(chosen)
        return pb.Step(
            episode_id=episode.episode_id,
            index=episode.steps,
            proposed=self.guard.choose(proposed).tolist(),
            chosen=chosen.tolist(),
            sent=self.guard.send(chosen).tolist(),
            human=human,
            held=_held(fault),
            policy_version=pilot.version,
            time_ns=time.time_ns(),
        )

    def _ended_by_person(self, episode: Episode, said: OperatorInput) -> bool:
        """Discard, re-record and stop take effect before the next step; success and failure end the step to come."""
        for event in said.events:
            if event in (Event.DISCARD, Event.RERECORD):
                episode.outcome, episode.again = Outcome.DISCARDED, event is Event.RERECORD
                return True
            if event is Event.STOP:
                episode.outcome, episode.stop = Outcome.CUT, True
                return True
        return False

    def _resumed(self, episode: Episode, operator: Operator) -> bool:
        """Holds still until the person is ready, which counts as nothing. False where the episode ended instead."""
        while True:
            said = operator.between_episodes()
            if self._ended_by_person(episode, said):
                return False
            if Event.READY in said.events:
                self.pacer.restart()
                return True
            if self.gate(episode.plan.purpose):
                episode.outcome = Outcome.CUT
                return False
            self.on_step(episode, said)
            time.sleep(_PAUSED_POLL_S)

    def _reset(self, start_seed: int) -> dict[str, np.ndarray]:
        for attempt in range(5):
            raw, info = self.env.reset(seed=start_seed if not attempt else None)
            observation = {name: np.array(value) for name, value in raw.items()}
            if self.guard.fault_of_observation(observation, info) is Held.NO:
                return observation
        why = f": {self.guard.lost_camera}" if self.guard.lost_camera else ""
        raise ResetError(f"the environment was reset 5 times and its first observation was never whole and fresh{why}")


def _held(reason: Held) -> pb.HeldReason:
    return cast(pb.HeldReason, int(reason))
