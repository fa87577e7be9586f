"""``tandem actor``: the comms process. It joins a learner, starts the control process and carries their messages."""

from __future__ import annotations

import base64
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from actor.awaited_token import await_token
from actor.config import ActorConfig, ControlConfig
from actor.console import ActorConsole
from actor.control_process import ControlProcess
from actor.describe import JoinError, Run, await_description, await_learner, understand
from actor.downlink import Downlink
from actor.ending import Next, delivered_words, say_stopped_waiting, why_stopped
from actor.flush import flush, flush_run
from actor.joining import join_folder
from actor.listener import DeviceListener, ListenerError
from actor.shared import Board, Mailbox, Phase, create_block
from actor.spool import Spool, SpoolError
from actor.spool_folder import SpoolFolder, check_name, default_folder
from actor.stop_signal import StopSignal
from actor.uplink import Uplink
from episodes.disk import DiskError
from reward.config import ClassifierReward, reward_name
from transport import service_pb2 as pb
from transport import service_pb2_grpc as rpc
from transport.certificates import CertificateError
from transport.channel import open_channel
from transport.plain_text import plain_text
from transport.priority import grpc_gives_way
from transport.server import BindError
from transport.settings import settings_of
from transport.token import TokenError

DELIVER_AT_STOP_S = 1.5
STOP_WITHIN_S = 4.2
DELIVER_AT_END_S = 10.0
RESTARTS_A_MINUTE = 3
_TURN_S = 0.05


def run_actor(config: ActorConfig) -> int:
    """Runs until the learner says the run is over, the person stops it, or it cannot go on.

    Returns 0 where the run is over or an operator ended it, 1 after one clear message, 130 after Ctrl-C or SIGTERM.
    """
    root = Path(config.spool or default_folder()).expanduser()
    with StopSignal() as stop:
        try:
            check_name(config.name)
            token = await_token(config, lambda: stop.asked)
            if not token:
                return say_stopped_waiting(config, config.name, root, _say, stop)
            folder = None if config.flush else SpoolFolder(root, config.name, takeover=config.takeover)
        except (BindError, TokenError, SpoolError, DiskError) as error:
            _complain(str(error))
            return 1
        memory = _Memory(config.policy_mb << 20)
        try:
            name = folder.name if folder else config.name or "flush"
            with ActorConsole(memory.board, name, config.status_every_s) as console:
                return _join_and_run(config, token, root, folder, memory, console, stop)
        except (JoinError, CertificateError, SpoolError, ListenerError) as error:
            _complain(str(error))
            return 1
        except KeyboardInterrupt:
            return say_stopped_waiting(config, folder.name if folder else config.name, root, _complain, stop)
        finally:
            if folder:
                folder.close()


def _say(text: str) -> None:
    print(f"actor: {text}", flush=True)


def _complain(text: str) -> None:
    print(plain_text(f"actor: {text}", None), file=sys.stderr)


class _Memory:
    """What the two processes share, besides the spool."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.fds = (create_block(Board.SIZE), *(create_block(Mailbox.size(largest)) for _ in range(4)))
        self.board = Board(self.fds[0])
        self.weights, self.requests, self.frozen, self.rewards = (Mailbox(fd, largest) for fd in self.fds[1:])


def _join_and_run(
    config: ActorConfig,
    token: str,
    root: Path,
    own: SpoolFolder | None,
    memory: _Memory,
    console: ActorConsole,
    stop: StopSignal,
) -> int:
    """``own``: None with ``flush``, which delivers the spools of others."""
    address = config.learner_address
    control = None if own is None else ControlProcess(memory.board, memory.fds, console.say)

    def stopped(name: str) -> int:
        return say_stopped_waiting(config, name, root, console.say, stop)

    name = own.name if own else config.name
    try:
        found = await_learner(config, console.say, lambda: stop.asked)
        if found is None:
            return stopped(name)
        with open_channel(address, token, found.trust) as steps, open_channel(address, token, found.trust) as weights:
            stub = rpc.LearnerStub(steps)
            description = await_description(stub, config, console.say, lambda: stop.asked)
            if description is None:
                return stopped(name)
            run = understand(description, config)

            def join(folder: SpoolFolder) -> tuple[Spool, Uplink] | None:
                return join_folder(config, run, folder, steps, memory.board, console, stop)

            def deliver(folder: SpoolFolder) -> int:
                joined = join(folder)
                return stopped(folder.name) if joined is None else flush(joined[1], joined[0], console, stop)

            if own is None or control is None:
                run_id = description.run_id
                return flush_run(root, config.name, run_id, deliver, console, stop, takeover=config.takeover)
            joined = join(own)
            if joined is None:
                return stopped(name)
            spool, uplink = joined
            for line in own.others(description.run_id):
                console.say(line)
            downlink = Downlink(
                rpc.LearnerStub(weights),
                description.run_id,
                spool.spool_id,
                memory.weights,
                memory.requests,
                memory.frozen,
                memory.largest,
                console.say,
                memory.rewards if isinstance(config.reward, ClassifierReward) else None,
            )
            actor = _Actor(config, run, own, spool, memory, console, uplink, downlink, control)
            return actor.run(stop)
    finally:
        if control is not None:
            control.close()


class _Actor:
    """The parts of a joined actor, and what happens when one of them ends."""

    def __init__(
        self,
        config: ActorConfig,
        run: Run,
        folder: SpoolFolder,
        spool: Spool,
        memory: _Memory,
        console: ActorConsole,
        uplink: Uplink,
        downlink: Downlink,
        control: ControlProcess,
    ) -> None:
        self.config = config
        self.of_run = run
        self.folder = folder
        self.spool = spool
        self.memory = memory
        self.console = console
        self.uplink = uplink
        self.downlink = downlink
        self.control = control
        self._restarts: list[float] = []

    def run(self, stop: StopSignal) -> int:
        """Returns the exit code of the actor. Raises ListenerError where the operator's device cannot be opened."""
        listener = DeviceListener(self.config.operator, self.config.keyboard, self.memory.board, self.console.say)
        listener.start()
        self.control.order(self._orders())
        self.uplink.start()
        self.downlink.start()
        grpc_gives_way()
        with ExitStack() as ending:  # all of it, also where a second Ctrl-C comes in between
            ending.callback(listener.stop)
            ending.callback(self.uplink.finish, 0.0)
            ending.callback(self.downlink.stop)
            ending.callback(self._leave_control, stop)
            while True:
                time.sleep(_TURN_S)
                self.console.refresh(
                    connected=self.uplink.connected, undelivered=self.spool.undelivered, fault=self.uplink.fault
                )
                if stop.asked:
                    return self._stopped(stop.code, *why_stopped(stop, self.folder.name))
                if self.uplink.replaced:
                    return self._stopped(1, f"another actor took over the name {self.folder.name!r}", Next.DELIVER)
                if self.uplink.finished is not None:
                    return self._over(f"the run is over: {self.uplink.finished}", Next.DELIVER)
                if error := self.uplink.error or self.downlink.error:
                    return self._stopped(1, error, Next.NOTHING)
                code = self.control.poll()
                if code == 0:
                    return self._over("the operator ended the run here", Next.GO_ON)
                if code is not None and not self._restarted(code):
                    said = self.control.last_words if code > 0 else f"it was killed by signal {-code}"
                    return self._stopped(1, f"the control process ended: {said}", Next.GO_ON)

    def _orders(self) -> ControlConfig:
        run, config = self.of_run, self.config
        settings = pb.RunDescription(env_settings=settings_of(run.env_config))
        board_fd, policy_fd, evaluation_fd, frozen_fd, reward_fd = self.memory.fds
        return ControlConfig(
            env=run.description.env,
            env_settings=base64.b64encode(settings.SerializeToString()).decode(),
            name=self.folder.name,
            run_id=run.description.run_id,
            spool_path=str(self.spool.path),
            operator=config.operator,
            pacing="lockstep" if run.lockstep else "realtime",
            control_hz=run.control_hz,
            warmup=run.acting.warmup,
            exploration_share=run.acting.exploration_share,
            seed=run.acting.seed,
            max_action=config.max_action,
            stale_observation_s=config.stale_observation_s,
            watchdog_s=config.watchdog_s,
            device=config.device,
            torch_threads=config.torch_threads,
            view_port=config.view_port,
            reward=reward_name(config.reward),
            reward_settings=asdict(config.reward),
            board_fd=board_fd,
            policy_fd=policy_fd,
            evaluation_fd=evaluation_fd,
            frozen_fd=frozen_fd,
            reward_fd=reward_fd,
        )

    def _restarted(self, code: int) -> bool:
        """Starts a killed control process again where nothing real moves. False where the actor must end."""
        now = time.monotonic()
        self._restarts = [at for at in self._restarts if now - at < 60.0]
        if code > 0 or self.of_run.hardware or len(self._restarts) >= RESTARTS_A_MINUTE:
            return False
        self._restarts.append(now)
        self.control.close()
        self._recover()
        self.console.say(f"the control process was killed by signal {-code}; starting it again")
        self.memory.board.beat(Phase.STARTING)
        self.control = ControlProcess(self.memory.board, self.memory.fds, self.console.say)
        self.control.order(self._orders())
        return True

    def _stop_control(self) -> None:
        """Lets the episode end where it stands; what a killed control process left open is cut."""
        self.memory.board.comms["stop"] = 1
        self.control.stop()
        self._recover()

    def _leave_control(self, stop: StopSignal) -> None:
        if stop.hurried:
            self.memory.board.comms["stop"] = 1
            self.control.let_go()
        else:
            self._stop_control()

    def _recover(self) -> None:
        if said := self.spool.recover():
            self.console.say(said)

    def _stopped(self, code: int, why: str, following: Next) -> int:
        began = time.monotonic()
        self._stop_control()
        left_s = began + STOP_WITHIN_S - time.monotonic()
        self.uplink.finish(max(0.2, min(DELIVER_AT_STOP_S, left_s)))
        self.console.say(why)
        self._say_delivered(following)
        return code

    def _over(self, why: str, following: Next) -> int:
        self._stop_control()
        self.uplink.finish(DELIVER_AT_END_S if self.uplink.connected else DELIVER_AT_STOP_S)
        self.console.say(why)
        if self.spool.undelivered:
            self._say_delivered(following)
        elif self.uplink.finished is not None:
            self.folder.discard(self.of_run.description.run_id)
        return 0

    def _say_delivered(self, following: Next) -> None:
        self.console.say(delivered_words(self.spool, following, self.config, self.folder.name))
