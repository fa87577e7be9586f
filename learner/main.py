"""`tandem learner`: wires a run together, runs its loop, and ends it cleanly."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from envs.registry import derive_contract
from episodes.contract import Contract
from episodes.durable import write_durably
from episodes.log import EpisodeLog
from learner.algorithms import build_algorithm, policy_spec
from learner.checkpoint import CheckpointError
from learner.config import ConfigError, LearnerConfig
from learner.console import Console
from learner.demonstrations import check_demonstrations, import_demonstrations
from learner.ingest import Ingest
from learner.publisher import PolicyPublisher
from learner.replay import ReplayBuffer
from learner.reporting import Reporter
from learner.run_folder import RunFolder, default_run_folder, open_run_folder, plain, save_config
from learner.service import LearnerServer
from learner.startup import StartInterruptedError, prepare
from learner.status import starting_status, status_message
from learner.training import FINISHED, Ending, Trainer
from metrics.tracker import describe_tracker, make_tracker
from transport import service_pb2 as pb
from transport.channel import PROTOCOL
from transport.server import check_free, check_loopback
from transport.settings import settings_of
from transport.token import load_or_create_token

if TYPE_CHECKING:
    from learner.algorithms import Algorithm

FAREWELL_S = 3.0
TRACKER_S = 20.0
TRACKER_INTERRUPTED_S = 1.5


def run_learner(config: LearnerConfig) -> int:
    """Runs a learner until its run is over, and returns the exit code.

    0: over; 3: a cap was reached without success, where success was asked for; 130: stopped by the user, all saved.

    Raises:
        ConfigError, EnvError, PolicySpecError, RunFolderError, LogError, DemonstrationError, CheckpointError,
        SnapshotError, BindError, TokenError, IngestError: with a text for the user.
    """
    contract = derive_contract(config.env, config.env_config)
    policy_spec(contract, config.algorithm)  # refuses what cannot be trained, before anything is made
    token = load_or_create_token(config.token_path or None)
    check_free(check_loopback(config.address))
    if config.demos:
        check_demonstrations(config.demos, contract)  # as early: a run folder is not made in vain
    replay_bytes = _checked(config.replay.capacity_bytes)
    folder = open_run_folder(
        config.run or default_run_folder(contract.interface.task),
        contract,
        env=config.env,
        resume=config.resume,
        replay_bytes=replay_bytes,
        settings=kept_settings(config),
    )
    console = Console(config.console)
    try:
        with (
            EpisodeLog(
                folder.log,
                run_id=folder.run_id,
                interface_fingerprint=contract.interface_fingerprint,
                sync=config.log.sync,  # type: ignore[arg-type]
                segment_bytes=config.log.segment_mb << 20,
            ) as log,
        ):
            save_config(folder, plain(config))
            if log.cut_bytes:
                console.event(
                    f"cut {log.cut_bytes} bytes of an unfinished append off the log; nothing acknowledged is lost"
                )
            if config.demos:
                count = import_demonstrations(config.demos, log, contract)
                console.event(f"{count} demonstrations from {config.demos}")
            return _serve(config, folder, contract, log, token, console)
    finally:
        console.close()


def _serve(
    config: LearnerConfig, folder: RunFolder, contract: Contract, log: EpisodeLog, token: str, console: Console
) -> int:
    ingest = Ingest(log, contract.interface)
    publisher = PolicyPublisher()
    trainers: list[Trainer] = []
    server = LearnerServer(
        config.address,
        token,
        describe(config, folder, contract),
        ingest,
        publisher,
        lambda: status_message(trainers[0]) if trainers else starting_status(folder.run_id, str(folder.path.resolve())),
        serving=False,
    )
    stop = _Stop()
    trainer: Trainer | None = None
    try:
        with stop.on_signals():
            port = server.start()
            # Programs that start a learner wait for this line: it names the port that 0 has become.
            print(
                f"learner of {contract.interface.task} listens on {config.address.rpartition(':')[0]}:{port}",
                flush=True,
            )
            console.event(f"run folder: {folder.path}{' (resumed)' if folder.resumed else ''}")
            trainer = _trainer(config, folder, contract, ingest, publisher, console)
            trainers.append(trainer)
            stop.stops(trainer)
            try:
                prepare(trainer, log)
                server.set_serving()
                ending = trainer.run()
            except StartInterruptedError:
                ending = Ending("stopped by the user before learning was ready", "interrupted", 130)
            return _end(trainer, ending, server)
    finally:
        server.stop()
        ingest.close()
        if trainer is not None:
            trainer.reporter.close(0.1)


def kept_settings(config: LearnerConfig) -> dict[str, Any]:
    """Settings that a run keeps when it is resumed, by their keys on the command line."""
    return {"seed": config.acting.seed, "algorithm": config.algorithm, "replay": config.replay}


def describe(config: LearnerConfig, folder: RunFolder, contract: Contract) -> pb.RunDescription:
    """What an actor is told before it joins."""
    return pb.RunDescription(
        protocol=PROTOCOL,
        run_id=folder.run_id,
        env=config.env,
        env_settings=settings_of(config.env_config),
        contract=contract.to_message(),
        interface_fingerprint=contract.interface_fingerprint,
        view_fingerprint=contract.view_fingerprint,
        policy_spec=settings_of(policy_spec(contract, config.algorithm)),
        acting=settings_of(config.acting),
    )


def _trainer(
    config: LearnerConfig,
    folder: RunFolder,
    contract: Contract,
    ingest: Ingest,
    publisher: PolicyPublisher,
    console: Console,
) -> Trainer:
    tracker = make_tracker(
        config.tracker, folder.path, run_id=folder.run_id, name=folder.path.name, config=plain(config)
    )
    reporter = Reporter(folder.metrics, tracker)
    try:
        return Trainer(
            config,
            folder,
            ingest=ingest,
            publisher=publisher,
            algorithm=_algorithm(config, contract),
            replay=_checked(lambda: replay_buffer(config, contract, folder.replay_bytes)),
            reporter=reporter,
            console=console,
        )
    except BaseException:
        reporter.close(0.1)
        raise


def replay_buffer(config: LearnerConfig, contract: Contract, capacity_bytes: int) -> ReplayBuffer:
    """The empty replay buffer of a run."""
    return ReplayBuffer(
        contract,
        capacity_bytes=capacity_bytes,
        protected_share=config.replay.protected_share,
        n_step=config.algorithm.n_step,
        gamma=config.algorithm.gamma,
        cut_at_takeover=config.replay.cut_at_takeover,
        seed=config.acting.seed,
    )


def _algorithm(config: LearnerConfig, contract: Contract) -> Algorithm:
    import torch

    if config.torch_threads:
        torch.set_num_threads(config.torch_threads)
    return _checked(lambda: build_algorithm(contract, config.algorithm, device=config.device, seed=config.acting.seed))


def _end(trainer: Trainer, ending: Ending, server: LearnerServer) -> int:
    """Tells the actors, saves, and says what came of it."""
    console = trainer.console
    interrupted = ending.outcome == "interrupted"
    trainer.phase = FINISHED
    if not interrupted:
        trainer.ingest.finish(ending.reason)
        until_s = time.monotonic() + FAREWELL_S
        while time.monotonic() < until_s and any(s.connected for s in trainer.ingest.spools()):
            trainer.drain()
            time.sleep(0.02)
    server.stop(0.2)
    trainer.ingest.close(1.0)
    while trainer.drain():
        pass
    trainer.progress.report(trainer, force=True)
    if trainer.moved:
        trainer.save()
    saved = True
    try:
        trainer.writer.close()
    except CheckpointError as error:
        console.event(str(error))
        saved = False
    try:
        write_durably(
            trainer.folder.path / "training.json", (json.dumps(summary(trainer, ending), indent=2) + "\n").encode()
        )
    except OSError as error:
        console.event(f"training.json was not written: {error}")
        saved = False
    trainer.reporter.close(TRACKER_INTERRUPTED_S if interrupted else TRACKER_S)
    console.close()
    console.event(
        f"{ending.reason}: {trainer.metrics.env_steps} environment steps, {trainer.algorithm.updates} updates"
    )
    if watched := describe_tracker(trainer.folder.path):
        console.event(watched)
    if interrupted:
        again = shlex.quote(str(trainer.folder.path))
        all_saved = "Everything is saved. " if saved and not trainer.diverged else ""
        console.event(f"{all_saved}Go on with: tandem learner run={again}")
    return ending.exit_code if saved else 1


def summary(trainer: Trainer, ending: Ending) -> dict[str, Any]:
    """What training came to, for training.json: read by the demo and by `make results`."""
    best = trainer.schedule.best
    return {
        "run_id": trainer.folder.run_id,
        "outcome": ending.outcome,
        "reason": ending.reason,
        "train_wall_s": trainer.elapsed_s,
        "first_update_unix_s": trainer.first_update_s,
        "env_steps": trainer.metrics.env_steps,
        "episodes": trainer.metrics.episodes,
        "updates": trainer.algorithm.updates,
        "dropped_updates": trainer.limiter.dropped,
        "intervention_rate": trainer.metrics.intervention_rate,
        "operator_cycle_steps": trainer.metrics.operator_cycle_steps,
        "best": None if best is None else {**plain(best), "success_rate": best.success_rate},
        "evaluations": [{**plain(r), "success_rate": r.success_rate} for r in trainer.schedule.results],
    }


class _Stop:
    """What SIGINT and SIGTERM do: stop the trainer, or end the process where there is none yet."""

    def __init__(self) -> None:
        self._asked = False
        self._trainer: Trainer | None = None

    def stops(self, trainer: Trainer) -> None:
        self._trainer = trainer

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM stop the trainer; a second one ends the process at once. Only in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: object) -> None:
        if self._asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._asked = True
        if self._trainer is None:
            raise KeyboardInterrupt  # nothing is there that could be lost
        self._trainer.stop = True


def _checked[T](make: Callable[[], T]) -> T:
    """``make()``, with a ValueError about a setting as a ConfigError."""
    try:
        return make()
    except ValueError as error:
        raise ConfigError(str(error)) from error
