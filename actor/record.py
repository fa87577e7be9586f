"""``tandem record``: demonstrations, driven by an operator from first to last step, in an episode log of their own."""

from __future__ import annotations

import sys
import time
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from actor.episode import Episode, EpisodeRunner, Plan, ResetError
from actor.listener import DeviceListener, ListenerError
from actor.operators import DEVICES, check_operator, make_operator
from actor.pacing import LockstepPacer, RealtimePacer
from actor.pilot import Idle
from actor.safety import Guard
from actor.shared import Board, create_block
from actor.stop_signal import StopSignal
from envs.errors import EnvError
from envs.registry import derive_contract, make_env
from envs.teleop.operator import Event, Operator, OperatorInput
from envs.view import LiveView
from episodes.contract import Contract, ContractError, stored_differences
from episodes.contract_file import load_contract, save_contract
from episodes.log import EpisodeLog, LogError, read_log
from episodes.outcome import Outcome, Purpose
from episodes.seeds import SeedStream, start_seed
from transport import records_pb2 as pb

SPOOL_ID = "demonstrations"
CONTRACT_FILE = "contract.json"


@dataclass(frozen=True)
class RecordConfig:
    """Settings of ``tandem record``.

    Attributes:
        env: Registered name of the environment.
        env_config: Its config.
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


class RecordError(RuntimeError):
    """Demonstrations that cannot be recorded here. The text says what to do."""


class LogSink:
    """Writes episodes into an EpisodeLog, one record at a time; what a crash left open is cut when it is made."""

    def __init__(self, log: EpisodeLog, actor: str) -> None:
        self._log = log
        self._actor = actor
        position = log.positions().get(SPOOL_ID)
        self._sequence = position.sequence if position else 0
        if position and position.episode_id:
            self.end_episode(
                pb.EpisodeEnd(
                    episode_id=position.episode_id, outcome=pb.OUTCOME_CUT, author="actor", steps=position.steps
                )
            )

    def start_episode(self, start: pb.EpisodeStart) -> None:
        self._append(pb.Record(start=start))

    def begin_step(self, step: pb.Step) -> None:
        pass

    def finish_step(self, step: pb.Step, observation: list[memoryview]) -> None:
        step.observation.extend(map(bytes, observation))
        self._append(pb.Record(step=step))

    def end_episode(self, end: pb.EpisodeEnd) -> None:
        self._append(pb.Record(end=end))
        self._log.sync()

    def discard(self, episode_id: str) -> None:
        """Marks an episode that has ended as never to be learned from."""
        amendment = pb.Amendment(
            episode_id=episode_id, author="actor", time_ns=time.time_ns(), outcome=pb.OUTCOME_DISCARDED
        )
        self._append(pb.Record(amendment=amendment))

    def _append(self, record: pb.Record) -> None:
        self._sequence += 1
        record.sequence = self._sequence
        self._log.append([pb.LogEntry(spool_id=SPOOL_ID, actor=self._actor, record=record).SerializeToString()])


def record(config: RecordConfig) -> int:
    """Records until ``out`` holds the wanted number of successful episodes. Can be stopped and started again.

    Returns 0 when it does, 1 after one clear message, 130 after Ctrl-C.
    """
    with StopSignal() as stop:
        try:
            return _record(config, stop)
        except (RecordError, EnvError, LogError, ContractError, ListenerError, ResetError) as error:
            print(f"record: {error}", file=sys.stderr)
            return 1


def _record(config: RecordConfig, stop: StopSignal) -> int:
    if config.operator == "none":
        raise RecordError("recording needs an operator who drives. Set operator=scripted or operator=keyboard")
    check_operator(config.operator, config.env)
    contract = derive_contract(config.env, config.env_config)
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    _keep_contract(folder, contract)
    console = Console(highlight=False)
    board = Board(create_block(Board.SIZE))
    listener = DeviceListener(config.operator, config.keyboard, board, console.print)
    with _open_log(folder / "log", contract) as log:
        sink = LogSink(log, config.operator)
        successes, recorded = count_successes(folder)
        env = make_env(config.env, config.env_config)
        view = LiveView(env, config.view_port) if config.view_port else None
        if view is not None:
            console.print(f"watch the robot at {view.url}", markup=False)
        listener.start()
        columns = (TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[doing]}"))
        progress = Progress(*columns, console=console)
        try:
            drawn = start_seed(config.seed, SeedStream.DEMONSTRATION, "operator", recorded)
            operator = make_operator(
                config.operator, env, contract.interface, board=board, seed=drawn, demonstrate=True
            )
            with progress:
                task = progress.add_task("", total=config.episodes, completed=successes, doing="")

                def show(episode: Episode, said: OperatorInput) -> None:
                    progress.update(task, doing=said.doing)
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
                    person="operator" if config.operator == "scripted" else "person",
                )
                failures = 0
                while successes < config.episodes and not stop.asked:
                    if not _ready(operator, stop):
                        break
                    plan = Plan(
                        Purpose.DEMONSTRATION, start_seed(config.seed, SeedStream.DEMONSTRATION, "record", recorded)
                    )
                    episode = runner.run(plan, Idle(contract.interface.action.shape[0]), operator)
                    recorded += not episode.again
                    if episode.outcome is Outcome.SUCCESS:
                        successes, failures = successes + 1, 0
                        progress.update(task, completed=successes)
                    else:
                        failures += 1
                        if not config.keep_failures and episode.outcome is not Outcome.DISCARDED:
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
    if successes < config.episodes:
        console.print("run the same command again to add the rest", markup=False)
        return 130 if stop.asked else 1
    return 0


def _keep_contract(folder: Path, contract: Contract) -> None:
    """Puts the contract beside the log. Raises RecordError where the folder holds another contract's episodes."""
    path = folder / CONTRACT_FILE
    if not path.exists():
        save_contract(path, contract)
        return
    found = stored_differences(load_contract(path), contract)
    if found:
        lines = "\n".join(f"  {difference}" for difference in found)
        raise RecordError(
            f"{folder} holds demonstrations of another contract:\n{lines}\nChoose another folder: out=PATH"
        )


def _open_log(folder: Path, contract: Contract) -> EpisodeLog:
    """The log of these demonstrations, under a run id of its own so that a learner can take several folders."""
    run_id = None if any(folder.glob("segment-*.log")) else f"demos-{uuid.uuid4().hex[:12]}"
    return EpisodeLog(folder, run_id=run_id, interface_fingerprint=contract.interface_fingerprint, sync="os")


def count_successes(folder: Path) -> tuple[int, int]:
    """Successful episodes, and all started ones that were not repeated, of a folder of demonstrations."""
    outcomes: dict[str, int] = {}
    starts = set()
    for _, entry in read_log(folder / "log"):
        record = entry.record
        if record.HasField("start"):
            starts.add(record.start.start_seed)
        elif record.HasField("end"):
            outcomes[record.end.episode_id] = record.end.outcome
        elif record.HasField("amendment"):
            outcomes[record.amendment.episode_id] = record.amendment.outcome
    return sum(outcome == pb.OUTCOME_SUCCESS for outcome in outcomes.values()), len(starts)


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
