"""`tandem learner`: wires a run together and runs its loop."""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path
from typing import Any

from envs.registry import derive_contract
from episodes.contract import Contract
from episodes.disk import check_writable
from episodes.log import EpisodeLog
from learner.algorithms import policy_spec
from learner.assembly import make_trainer
from learner.checkpoint import CheckpointError
from learner.config import LearnerConfig
from learner.console import Console
from learner.demonstrations import check_demonstrations, import_demonstrations
from learner.disk_plan import plan
from learner.distributed import check_ranks, follow, release, started_ranks, tells_torchrun
from learner.encoder_copy import keep_encoder, with_kept_encoder
from learner.finish import finish
from learner.gpu_memory import out_of_memory_explained
from learner.ingest import Ingest
from learner.joining import identity_of, join_lines
from learner.publisher import PolicyPublisher
from learner.reward_watch import RewardWatch
from learner.run_folder import RunFolder, default_run_folder, open_run_folder, plain, save_config
from learner.service import LearnerServer
from learner.service_file import remove_service_file, write_service_file
from learner.start_check import beyond_memory, check_start
from learner.startup import StartInterruptedError, prepare
from learner.status import starting_status, status_message
from learner.stop_rule import Ending
from learner.stop_signal import StopSignal
from learner.training import Trainer
from transport import service_pb2 as pb
from transport.certificates import Identity
from transport.channel import PROTOCOL
from transport.server import check_free, place_of
from transport.settings import settings_of
from transport.token import load_or_create_token


@tells_torchrun
def run_learner(config: LearnerConfig) -> int:
    """Runs a learner until its run is over, and returns the exit code.

    0: over; 1: over because the losses are not finite, or not all could be saved; 3: a cap was reached without success,
    where success was asked for; 130: stopped by the user.

    Raises:
        ConfigError, EnvError, PolicySpecError, RunFolderError, LogError, CheckpointError, RankError, ...: with a text.
    """
    ranks = started_ranks()
    if ranks.rank:
        return follow(config, ranks)
    check_ranks(config, ranks)
    contract = derive_contract(config.env, config.env_config)
    kept = with_kept_encoder(config)
    place = place_of(config.address)
    check_free(place)
    if config.demos:
        check_demonstrations(config.demos, contract)
    path = Path(config.run or default_run_folder(contract.interface.task))
    replay_bytes = check_start(kept, contract, path)
    token = load_or_create_token(config.token_path)
    identity = identity_of(config, place)
    check_writable(path)
    folder = open_run_folder(
        path,
        contract,
        env=config.env,
        resume=config.resume,
        replay_bytes=replay_bytes,
        settings=kept_settings(config),
    )
    console = Console(config.console)
    try:
        if folder.added:
            console.event(
                f"run made by an earlier version; these settings take their defaults: {', '.join(folder.added)}"
            )
        with EpisodeLog(
            folder.log,
            run_id=folder.run_id,
            interface_fingerprint=contract.interface_fingerprint,
            sync=config.log.sync,  # type: ignore[arg-type]
            segment_bytes=config.log.segment_mb << 20,
        ) as log:
            if folder.resumed and (said := beyond_memory(config, contract, folder.replay_bytes)):
                console.event(f"{said}: free some, or go on on a larger machine, before that much has been recorded")
            save_config(folder, plain(config))
            for line in plan(config, contract, folder.path, folder.replay_bytes):
                console.event(line)
            if log.cut_bytes:
                console.event(
                    f"cut {log.cut_bytes} bytes, none of them acknowledged, of an unfinished append off the log"
                )
            if config.demos:
                count = import_demonstrations(config.demos, log, contract)
                console.event(f"{count} demonstrations from {config.demos}")
            try:
                kept = keep_encoder(kept, folder.path, contract)
            except OSError as error:
                console.event(f"the encoder's weights were not copied, the run needs their file to go on: {error}")
            return _serve(kept, folder, contract, log, (token, identity), console)
    finally:
        console.close()


def _serve(
    config: LearnerConfig,
    folder: RunFolder,
    contract: Contract,
    log: EpisodeLog,
    secrets: tuple[str, Identity | None],
    console: Console,
) -> int:
    token, identity = secrets
    ingest = Ingest(log, contract, folder.claims)
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
        identity=identity,
        mutual=config.tls == "mutual",
    )
    stop, watch = StopSignal(), RewardWatch(folder.path, contract, publisher, console.event)
    trainer: Trainer | None = None
    try:
        watch.start()
        port = server.start()
        place = place_of(config.address)._replace(port=port)
        address = f"{config.address.rpartition(':')[0]}:{port}"
        _note_address(folder, address, config, identity.fingerprint if identity else "", console)
        # Programs that start a learner wait for this line: it names the port that 0 has become.
        print(f"learner of {contract.interface.task} listens on {address}", flush=True)
        for line in join_lines(config, place, identity):
            console.event(line)
        console.event(f"run folder: {folder.path}{' (resumed)' if folder.resumed else ''}")
        try:
            with out_of_memory_explained(config, folder.path):
                trainer = make_trainer(config, folder, contract, ingest, publisher, console)
                trainers.append(trainer)
                stop.stops(trainer)
                prepare(trainer, log)
                server.set_serving()
                gc.freeze()  # a full collection would walk all that was imported, for a good part of a second
                ending = trainer.run()
        except StartInterruptedError:
            ending = Ending("stopped by the user before learning was ready", "interrupted", 130)
        assert trainer is not None
        with out_of_memory_explained(config, folder.path):
            code = finish(trainer, ending, server)
        release(trainer.algorithm)
        return code
    finally:
        stop.close()
        watch.stop()
        server.stop()
        with contextlib.suppress(OSError):
            remove_service_file(folder.path)
        ingest.close()
        if trainer is not None:
            trainer.batches.close()
            with contextlib.suppress(CheckpointError):  # said already, or what ended the run is the graver
                trainer.writer.close()
            trainer.reporter.close(0.1)


def _note_address(folder: RunFolder, address: str, config: LearnerConfig, ca: str, console: Console) -> None:
    try:
        write_service_file(folder.path, folder.run_id, address, config.token_path, ca)
    except OSError as error:
        console.event(f"service.json was not written, `tandem status run=` will not find this learner: {error}")


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
