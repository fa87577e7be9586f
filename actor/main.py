"""``tandem actor``: the comms process. It joins a learner, starts the control process, and carries what they exchange."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import grpc

from actor.config import ActorConfig, ControlConfig
from actor.console import ActorConsole
from actor.describe import JoinError, Run, await_description, understand
from actor.downlink import Downlink
from actor.listener import DeviceListener, ListenerError
from actor.shared import Board, Mailbox, create_block
from actor.spool import Spool, SpoolError
from actor.spool_folder import SpoolFolder, default_folder
from actor.uplink import Uplink
from transport import service_pb2 as pb
from transport import service_pb2_grpc as rpc
from transport.channel import PROTOCOL, UNARY_TIMEOUT_S, open_channel
from transport.token import TokenError, load_token

STOP_CONTROL_S = 2.5
DELIVER_AT_STOP_S = 1.5
DELIVER_AT_END_S = 10.0
RESTARTS = 3
_TURN_S = 0.05


def run_actor(config: ActorConfig) -> int:
    """Runs until the learner says the run is over, the person stops it, or it cannot go on.

    Returns 0 where the run is over or an operator ended it, 1 after one clear message, 130 after Ctrl-C or SIGTERM.
    """
    stop = _StopSignal()
    board_fd = create_block(Board.SIZE)
    board = Board(board_fd)
    with stop:
        try:
            token = load_token(config.token_path or None)
            folder = SpoolFolder(Path(config.spool or default_folder()).expanduser(), config.name)
        except (TokenError, SpoolError) as error:
            print(f"actor: {error}", file=sys.stderr)
            return 1
        try:
            with ActorConsole(board, folder.name, config.status_every_s) as console:
                return _serve(config, token, folder, board, board_fd, console, stop)
        except (JoinError, SpoolError, ListenerError) as error:
            print(f"actor: {error}", file=sys.stderr)
            return 1
        finally:
            folder.close()


def _serve(
    config: ActorConfig,
    token: str,
    folder: SpoolFolder,
    board: Board,
    board_fd: int,
    console: ActorConsole,
    stop: _StopSignal,
) -> int:
    address = config.learner_address
    with open_channel(address, token) as steps, open_channel(address, token) as weights:
        stub = rpc.LearnerStub(steps)
        description = await_description(stub, address, console.say, lambda: stop.asked)
        if description is None:
            return stop.code
        run = understand(description, config)
        spool, recovered = folder.open(description.run_id, run.contract, config.spool_mb)
        for line in [recovered, *folder.others(description.run_id)]:
            if line:
                console.say(line)
        join = pb.JoinRequest(
            protocol=PROTOCOL,
            run_id=description.run_id,
            actor=folder.name,
            spool_id=spool.spool_id,
            contract=run.contract.to_message(),
        )
        _join_once(stub, join)
        actor = _Actor(config, run, folder, spool, board, board_fd, console)
        actor.uplink = Uplink(stub, spool, join, board, console.say)
        actor.downlink = Downlink(
            rpc.LearnerStub(weights),
            description.run_id,
            spool.spool_id,
            actor.weights,
            actor.requests,
            config.policy_mb << 20,
            console.say,
        )
        return actor.run(stop)


def _join_once(stub: rpc.LearnerStub, join: pb.JoinRequest) -> None:
    """Joins before anything is started, so that a refusal is one message. Raises JoinError."""
    try:
        stub.Join(join, timeout=UNARY_TIMEOUT_S)
    except grpc.RpcError as error:
        raise JoinError(f"the learner refuses this actor: {error.details()}") from None


class _Actor:
    """The parts of a joined actor, and what happens when one of them ends."""

    uplink: Uplink
    downlink: Downlink

    def __init__(
        self,
        config: ActorConfig,
        run: Run,
        folder: SpoolFolder,
        spool: Spool,
        board: Board,
        board_fd: int,
        console: ActorConsole,
    ) -> None:
        self.config = config
        self.run_ = run
        self.folder = folder
        self.spool = spool
        self.board = board
        self.console = console
        largest = config.policy_mb << 20
        self.fds = [board_fd, *(create_block(Mailbox.size(largest)) for _ in range(2))]
        self.weights, self.requests = (Mailbox(fd, largest) for fd in self.fds[1:3])
        self.listener = DeviceListener(config.operator, board, console.say)
        self._last_words = ""

    def run(self, stop: _StopSignal) -> int:
        self.listener.start()
        control = self._start_control()
        self.uplink.start()
        self.downlink.start()
        restarts: list[float] = []
        try:
            while True:
                time.sleep(_TURN_S)
                self.console.refresh(connected=self.uplink.connected, undelivered=self.spool.undelivered)
                if stop.asked:
                    self._stop_control(control)
                    self.uplink.finish(DELIVER_AT_STOP_S)
                    self._say_how_to_resume()
                    return stop.code
                if self.uplink.finished is not None:
                    self._stop_control(control)
                    return self._end(f"the run is over: {self.uplink.finished}")
                if error := self.uplink.error or self.downlink.error:
                    self._stop_control(control)
                    self.console.say(error)
                    self._say_how_to_resume()
                    return 1
                code = control.poll()
                if code is None:
                    continue
                self._recover()
                if code == 0:
                    return self._end(self._last_words or "the operator ended the run")
                restarts = [at for at in restarts if time.monotonic() - at < 60.0]
                if code > 0 or self.run_.hardware or len(restarts) >= RESTARTS:
                    why = self._last_words if code > 0 else f"the control process was killed by signal {-code}"
                    self.uplink.finish(DELIVER_AT_STOP_S)
                    self.console.say(f"the control process ended: {why}")
                    self._say_how_to_resume()
                    return 1
                restarts.append(time.monotonic())
                self.console.say(f"the control process was killed by signal {-code}; starting it again")
                control = self._start_control()
        finally:
            if control.poll() is None:
                self._stop_control(control)
            self.downlink.stop()
            self.uplink.finish(0.0)
            self.listener.stop()

    def _start_control(self) -> subprocess.Popen[bytes]:
        run, config = self.run_, self.config
        orders = ControlConfig(
            env=run.description.env,
            env_settings=base64.b64encode(
                pb.RunDescription(env_settings=run.description.env_settings).SerializeToString()
            ).decode(),
            name=self.folder.name,
            run_id=run.description.run_id,
            spool_path=str(self.spool.path),
            operator=config.operator,
            pacing="lockstep" if run.lockstep else "realtime",
            control_hz=run.control_hz,
            warmup=run.acting.warmup,
            seed=run.acting.seed,
            max_action=config.max_action,
            stale_observation_s=config.stale_observation_s,
            watchdog_s=config.watchdog_s,
            torch_threads=config.torch_threads,
            board_fd=self.fds[0],
            policy_fd=self.fds[1],
            evaluation_fd=self.fds[2],
        )
        # A session of its own: Ctrl-C in this terminal reaches the comms process, which tells the control process.
        control = subprocess.Popen(
            [sys.executable, "-P", "-m", "actor.control"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=self.fds,
            start_new_session=True,
        )
        assert control.stdin is not None
        control.stdin.write(json.dumps(asdict(orders)).encode() + b"\n")
        control.stdin.flush()
        threading.Thread(target=self._repeat, args=(control,), name="control-words", daemon=True).start()
        return control

    def _repeat(self, control: subprocess.Popen[bytes]) -> None:
        """Shows what the control process says, line by line."""
        assert control.stdout is not None
        for line in control.stdout:
            self._last_words = line.decode(errors="replace").rstrip()
            self.console.say(self._last_words)

    def _stop_control(self, control: subprocess.Popen[bytes]) -> None:
        """Lets the control process end its episode where it stands; kills it where it does not answer."""
        self.board.comms["stop"] = 1
        try:
            control.wait(STOP_CONTROL_S)
        except subprocess.TimeoutExpired:
            self.console.say("the control process does not answer and is killed")
            control.kill()
            control.wait()
        self._recover()

    def _recover(self) -> None:
        if said := self.spool.recover():
            self.console.say(said)

    def _end(self, why: str) -> int:
        self.uplink.finish(DELIVER_AT_END_S if self.uplink.connected else DELIVER_AT_STOP_S)
        self.console.say(why)
        if self.spool.undelivered:
            self._say_how_to_resume()
        elif self.uplink.finished is not None:
            self.folder.discard(self.run_.description.run_id)
        return 0

    def _say_how_to_resume(self) -> None:
        again = f"tandem actor learner.address={self.config.learner_address} name={self.folder.name}"
        if self.spool.undelivered:
            self.console.say(
                f"{self.spool.undelivered} records are not delivered yet and stay in {self.spool.path.parent}. "
                f"To deliver them and go on: {again}"
            )
        else:
            self.console.say(f"every step is delivered. To go on: {again}")


class _StopSignal:
    """Ctrl-C or SIGTERM, remembered; the second one ends the process at once."""

    def __init__(self) -> None:
        self.asked = False
        self.code = 130
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> _StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
