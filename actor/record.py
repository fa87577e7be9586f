"""``tandem record``: demonstrations, driven by an operator from first to last step, in an episode log of their own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
from rich.console import Console

from actor.episode import Episode, EpisodeRunner, Plan, ResetError
from actor.listener import DeviceListener, ListenerError
from actor.marking import Marker, count_near_misses
from actor.operators import DEVICES, check_operator, make_operator, person_of
from actor.pacing import LockstepPacer, RealtimePacer
from actor.pilot import Idle
from actor.recording_display import RecordingDisplay
from actor.recordings import LogSink, RecordError, count_successes, keep_contract, open_log
from actor.rewarding import make_rewarding
from actor.safety import Guard
from actor.shared import Board, create_block
from actor.stop_signal import StopSignal
from envs.errors import EnvError
from envs.registry import derive_contract, make_env
from envs.teleop.operator import Event, Operator, OperatorInput
from envs.teleop.scripted_misses import NEAR_MISSES
from envs.view import LiveView
from episodes.contract import Contract, ContractError
from episodes.log import LogError
from episodes.outcome import Outcome, Purpose
from episodes.seeds import SeedStream, start_seed
from reward.config import EnvReward, HumanReward, RewardConfig, RewardError
from reward.labels import counts, read_labels

_HOLD_STEPS = 10
"""How long the scripted person shows a success or a near miss before it ends the episode, where that is up to it."""


@dataclass(frozen=True)
class RecordConfig:
    """Settings of ``tandem record``.

    Attributes:
        env: Registered name of the environment.
        env_config: Its config.
        reward: Where rewards and successes come from.
        out: Folder of the demonstrations; more are added to what it holds.
        episodes: Successful episodes it shall hold in the end.
        operator: Who drives: one of the environment's operators.
        seed: Of start states and of what a scripted operator draws.
        keep_failures: Keep episodes that did not succeed for learning, instead of marking them as discarded.
        pacing: ``lockstep``, ``realtime``, or empty: realtime where a person drives.
        control_hz: Control rate in realtime pacing; 0 for the contract's, or 10 where it states none.
        keyboard: How keys are heard: ``auto``, ``pynput`` (a desktop) or ``terminal`` (SSH, Wayland).
        view_port: Port on this machine's loopback where a browser shows the simulated robot live; 0 for none.
        most_failures: Episodes without success in a row after which recording gives up.
        near_misses: Near misses it shall hold as well, for a reward classifier: the person is asked for each, and
            again where it became a success.
    """

    env: str
    env_config: Any
    out: str
    episodes: int = 20
    operator: str = "scripted"
    seed: int = 0
    keep_failures: bool = False
    pacing: str = ""
    control_hz: float = 0.0
    keyboard: str = "auto"
    view_port: int = 0
    most_failures: int = 20
    near_misses: int = 0
    reward: RewardConfig = field(default_factory=EnvReward)


def record(config: RecordConfig) -> int:
    """Records until ``out`` holds the wanted number of successful episodes. Can be stopped and started again.

    Returns 0 when it does, 1 after one clear message, 130 after Ctrl-C.
    """
    with StopSignal() as stop:
        try:
            return _record(config, stop)
        except (RecordError, RewardError, EnvError, LogError, ContractError, ListenerError, ResetError) as error:
            print(f"record: {error}", file=sys.stderr)
            return 1


def _record(config: RecordConfig, stop: StopSignal) -> int:
    if config.operator == "none":
        raise RecordError("recording needs an operator who drives. Set operator=scripted or operator=keyboard")
    check_operator(config.operator, config.env)
    contract = derive_contract(config.env, config.env_config)
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    keep_contract(folder, contract)
    console = Console(highlight=False)
    board = Board(create_block(Board.SIZE))
    listener = DeviceListener(config.operator, config.keyboard, board, partial(console.print, markup=False))
    author = person_of(config.operator)
    with open_log(folder / "log", contract) as log:
        sink, marker = LogSink(log, config.operator), Marker(folder, author)
        (successes, recorded), misses = count_successes(folder), count_near_misses(folder)
        env = make_env(config.env, config.env_config)
        view = LiveView(env, config.view_port) if config.view_port else None
        if view is not None:
            console.print(f"watch the robot at {view.url}", markup=False)
        listener.start()
        drivers = _drivers(config, env, contract, board)
        try:
            with RecordingDisplay(console, config.episodes, successes) as display:
                asked = ""

                def show(episode: Episode, said: OperatorInput) -> None:
                    marker.step(episode, said)
                    marking = "marking success" if marker.looks_like_success else ""
                    display.say(said.doing, asked, marking, runner.rewarding.doing)
                    if view is not None:
                        view.show()

                runner = EpisodeRunner(
                    env,
                    contract,
                    sink,
                    Guard(contract),
                    _pacer(config, contract),
                    gate=lambda purpose: "told to stop" if stop.asked else "",
                    on_step=show,
                    say=partial(console.print, markup=False),
                    person=author,
                    rewarding=make_rewarding(config.reward, contract),
                )
                failures = 0
                while (successes < config.episodes or misses < config.near_misses) and not stop.asked:
                    kind = _next_near_miss(config, successes, misses)
                    asked = f"please {NEAR_MISSES[kind]}" if kind else ""
                    operator = drivers(recorded, kind)
                    display.say(asked)
                    if not _ready(operator, stop):
                        break
                    plan = Plan(
                        Purpose.DEMONSTRATION, start_seed(config.seed, SeedStream.DEMONSTRATION, "record", recorded)
                    )
                    episode = runner.run(plan, Idle(contract.interface.action.shape[0]), operator)
                    if kind and episode.outcome is Outcome.SUCCESS:
                        console.print("a success, and kept as one: the near miss is asked for again", markup=False)
                        kind = ""
                    marker.end(episode, kind)
                    recorded += not episode.again
                    missed = bool(kind) and episode.outcome not in (Outcome.DISCARDED, Outcome.CUT)
                    misses += missed
                    if episode.outcome is Outcome.SUCCESS:
                        successes, failures = successes + 1, 0
                        display.complete(successes)
                    else:
                        failures += not missed
                        if (kind or not config.keep_failures) and episode.outcome is not Outcome.DISCARDED:
                            sink.discard(episode.episode_id)
                    if episode.stop:
                        break
                    if failures >= config.most_failures:
                        raise RecordError(f"{failures} episodes in a row did not succeed; {successes} are in {folder}")
        finally:
            listener.stop()
            if view is not None:
                view.close()
            env.close()
    console.print(f"{successes} successful episodes in {folder}: use them with demos={folder}", markup=False)
    if labels := {name: count for name, count in counts(read_labels(folder)).items() if count}:
        found = ", ".join(f"{count} {name}" for name, count in labels.items())
        console.print(f"frames labelled: {found}. Train with: tandem reward train data={folder}", markup=False)
    if successes < config.episodes or misses < config.near_misses:
        console.print("run the same command again to add the rest", markup=False)
        return 130 if stop.asked else 1
    return 0


def _next_near_miss(config: RecordConfig, successes: int, misses: int) -> str:
    """The kind of near miss that is next, in turn and evenly among the successes; empty where a success is."""
    due = misses * max(config.episodes, 1) <= successes * config.near_misses
    if misses >= config.near_misses or not (due or successes >= config.episodes):
        return ""
    return tuple(NEAR_MISSES)[misses % len(NEAR_MISSES)]


def _drivers(config: RecordConfig, env: gym.Env, contract: Contract, board: Board) -> Callable[[int, str], Operator]:
    """Who drives an episode, by its number and the kind of near miss asked for (empty for none).

    Of a scripted person what it draws differs from one start of recording to the next.
    """
    judge = _HOLD_STEPS if isinstance(config.reward, HumanReward) else 0
    made: dict[str, Operator] = {}

    def driver(recorded: int, near_miss: str) -> Operator:
        key = near_miss if config.operator not in DEVICES else ""
        if key not in made:
            drawn = start_seed(config.seed, SeedStream.DEMONSTRATION, f"operator{near_miss}", recorded)
            made[key] = make_operator(
                config.operator,
                env,
                contract.interface,
                board=board,
                seed=drawn,
                demonstrate=True,
                judge_steps=judge,
                near_miss=key,
            )
        return made[key]

    return driver


def _pacer(config: RecordConfig, contract: Contract) -> LockstepPacer | RealtimePacer:
    pacing = config.pacing or ("realtime" if config.operator in DEVICES else "lockstep")
    if pacing == "lockstep":
        return LockstepPacer()
    if pacing != "realtime":
        raise RecordError(f"pacing must be lockstep or realtime. Got: {pacing!r}")
    return RealtimePacer(config.control_hz or contract.interface.control_hz or 10.0)


def _ready(operator: Operator, stop: StopSignal) -> bool:
    while not stop.asked:
        events = operator.between_episodes().events
        if Event.STOP in events:
            return False
        if Event.READY in events:
            return True
        time.sleep(0.02)
    return False
