"""The control loop: environment, policy, operator and safety, and nothing that could delay a step.

It imports no grpc, wandb, rich or pynput; what it learns and says goes through shared memory, the spool, and lines on
standard output.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from actor.amending import amend
from actor.config import ControlConfig
from actor.episode import Episode, EpisodeRunner, Plan
from actor.operators import make_crew, person_of
from actor.pacing import LockstepPacer, RealtimePacer
from actor.pilot import ReadyPilot
from actor.rewarding import make_rewarding
from actor.safety import Guard
from actor.shared import Board, Letters, Mailbox, Phase
from actor.spool import Spool
from actor.tally import Tally
from envs.registry import derive_contract, env_config_type, env_entry, make_env
from envs.teleop.operator import Event, OperatorInput
from envs.view import LiveView
from episodes.outcome import Outcome, Purpose
from episodes.seeds import SeedStream, start_seed
from reward.config import reward_config
from transport import service_pb2 as pb
from transport.settings import config_from

_POLL_S = 0.001
_SPOOL_MARGIN = 8


class Control:
    """The control loop: which episode comes next, and what must be waited for before it.

    ``pilots`` makes what proposes actions, with the arguments of ``policy_pilot.PolicyPilot`` but its device.
    """

    def __init__(
        self, config: ControlConfig, parent_alive: Callable[[], bool], pilots: Callable[..., ReadyPilot]
    ) -> None:
        self._frozen = Mailbox.open(config.frozen_fd)
        self._pilot = partial(pilots, frozen=lambda: self._frozen.payload)
        self.config = config
        self.board = Board(config.board_fd)
        self.board.beat(Phase.STARTING)
        self.spool = Spool(Path(config.spool_path))
        self._parent_alive = parent_alive
        self._weights = Letters(Mailbox.open(config.policy_fd))
        self._requests = Mailbox.open(config.evaluation_fd)
        self._stopped_by_person = False
        settings = pb.RunDescription.FromString(base64.b64decode(config.env_settings)).env_settings
        env_config: Any = config_from(env_config_type(config.env), settings)
        self.contract = derive_contract(config.env, env_config)
        self.env = make_env(config.env, env_config)
        self.rewarding = make_rewarding(
            reward_config(config.reward, config.reward_settings),
            self.contract,
            None if config.reward_fd < 0 else partial(Letters(Mailbox.open(config.reward_fd)).newest, math.inf),
            say,
        )
        drawn = start_seed(config.seed, SeedStream.TRAINING, f"{config.name}/samples", self.spool.produced)
        self.person, crew = person_of(config.operator), partial(make_crew, config.operator, self.env, self.contract)
        self.operator, self._demonstrator, self._supervisor = crew(
            board=self.board, seed=drawn, demonstrate=config.warmup == "operator", judging=self.rewarding.asks
        )
        self._view = LiveView(self.env, config.view_port) if config.view_port else None
        if self._view is not None:
            say(f"watch the robot at {self._view.url}")
        self._lockstep = config.pacing == "lockstep"
        self.pacer = LockstepPacer() if self._lockstep else RealtimePacer(config.control_hz)
        self.runner = EpisodeRunner(
            self.env,
            self.contract,
            self.spool,
            Guard(
                self.contract,
                max_action=config.max_action,
                stale_observation_s=config.stale_observation_s,
                watchdog_s=config.watchdog_s if env_entry(config.env).hardware or not self._lockstep else 0.0,
            ),
            self.pacer,
            gate=self._gate,
            on_step=self._stepped,
            say=say,
            person=self.person,
            rewarding=self.rewarding,
        )
        self.pilot = self._pilot(
            self._weights.newest, exploration_share=config.exploration_share, seed=drawn, warmup=config.warmup
        )
        self._longest = 1
        self._last: Episode | None = None
        self.tally = Tally(self.board)

    def run(self) -> None:
        """Episodes until told to stop, or until the parent is gone."""
        while not self._leaving:
            self.pilot.refresh()
            self.rewarding.refresh()
            if not self.pilot.ready:
                self._wait(Phase.WAITING_POLICY)
            elif not self.rewarding.ready:
                self._wait(Phase.WAITING_REWARD)
            elif not self._has_room:
                self._wait_for_room()
            elif self._requests.number > self.tally.evaluated:
                self._evaluate()
            elif self._lockstep and not self._credit:
                self._wait(Phase.WAITING_LEARNER)
            elif self._ready(self.tally.evaluated):
                self._train()
        self.board.beat(Phase.CLOSING)

    def close(self) -> None:
        for part in (self._view, self.operator, self.env):
            self.board.beat(Phase.CLOSING)
            if part is not None:
                part.close()
        self.board.beat(Phase.STOPPED)

    def _train(self) -> None:
        index = self.spool.episodes
        plan = Plan(Purpose.TRAINING, start_seed(self.config.seed, SeedStream.TRAINING, self.config.name, index))
        self.board.beat(Phase.RUNNING)
        while True:
            operator = self._demonstrator if self.pilot.hands_off else self.operator
            episode = self.runner.run(plan, self.pilot, operator)
            if not episode.again or self._leaving or not self._ready(self.tally.evaluated):
                break
        self.tally.score(episode)
        self._ended(episode)

    def _evaluate(self) -> None:
        """Answers an evaluation request: its own weights, no exploration, starts no training uses.

        A person may reset, pause, discard, which repeats the start, and stop; none of it moves the robot.
        """
        request = self._requests.get()
        if request is None:
            return
        payloads = iter([request.payload])
        pilot = self._pilot(lambda spare_s: next(payloads, None), exploration_share=0.0)
        say(f"evaluating policy version {request.version} over {request.episodes} episodes")
        number = 0
        while number < request.episodes:
            while not self._has_room and not self._leaving:
                self._wait_for_room()
            if not self._ready(request.number):
                return
            self.board.beat(Phase.EVALUATING)
            plan = Plan(Purpose.EVALUATION, request.first_seed + number, request.evaluation_id)
            episode = self.runner.run(plan, pilot, self._supervisor)
            self._ended(episode)
            if self._leaving:
                return
            number += episode.outcome not in (Outcome.DISCARDED, Outcome.CUT)
        self.tally.evaluated = request.number

    def _ready(self, answered: int) -> bool:
        """Waits until the operator has the scene reset and wants to go on.

        False when told to leave, or when an evaluation newer than ``answered`` is asked for.
        """
        while not self._leaving:
            said = self.operator.between_episodes()
            if Event.STOP in said.events:
                self._stop_for_person()
                return False
            amend(self._last, said.events, self.person, self.spool.amend, say)
            if Event.READY in said.events:
                return True
            self.board.say(said.doing)
            self._wait(Phase.WAITING_PERSON)
            if self._requests.number > answered:
                return False
        return False

    def _gate(self, purpose: Purpose) -> str:
        waited = False
        while True:
            if self._leaving:
                return "told to stop"
            if self.spool.free < _SPOOL_MARGIN // 2:
                say("the spool is full: the episode is cut here, and the next one waits for the learner")
                return "spool full"
            if not self._lockstep or purpose is not Purpose.TRAINING or self._credit:
                break
            waited = True
            self._wait(Phase.WAITING_LEARNER)
        if waited:
            self.board.beat(Phase.RUNNING)
            self.pacer.restart()
        return ""

    def _stepped(self, episode: Episode, said: OperatorInput) -> None:
        self.tally.step(episode, self.pilot.version)
        self.board.say(said.doing)
        self.board.reward = self.rewarding.doing
        if self._view is not None:
            self._view.show()

    def _stop_for_person(self) -> None:
        say("the operator ended the run")
        self._stopped_by_person = True

    def _ended(self, episode: Episode) -> None:
        self._last = episode
        if episode.stop:
            self._stop_for_person()
        self.tally.end(episode, self.pacer)
        self._longest = max(self._longest, min(episode.steps, self.spool.capacity // 2))

    @property
    def _leaving(self) -> bool:
        return self._stopped_by_person or self.board.stopping or not self._parent_alive()

    @property
    def _credit(self) -> bool:
        return self.spool.training_steps < int(self.board.comms["step_credit"])

    @property
    def _has_room(self) -> bool:
        """Whether the spool takes an episode as long as the longest so far."""
        return self.spool.free >= min(self._longest + _SPOOL_MARGIN, self.spool.capacity - 1)

    def _wait_for_room(self) -> None:
        if self.board.control["phase"] != Phase.WAITING_SPOOL:
            say("the spool is full: holding between two episodes until the learner takes more")
        self._wait(Phase.WAITING_SPOOL)

    def _wait(self, phase: Phase) -> None:
        self.board.beat(phase)
        time.sleep(_POLL_S)


def say(text: str) -> None:
    """One line for the person, shown by the comms process."""
    print(text, flush=True)
