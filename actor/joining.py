"""Joining with what an earlier actor of the name left: its spool, looked through, and what the learner has of it."""

from __future__ import annotations

import grpc

from actor.away import Away
from actor.config import ActorConfig
from actor.console import ActorConsole
from actor.describe import Run, join_run
from actor.shared import Board
from actor.spool import Spool
from actor.spool_folder import SpoolFolder
from actor.stop_signal import StopSignal
from actor.uplink import Uplink
from episodes.image_codec import ImageCodec
from transport import service_pb2 as pb
from transport import service_pb2_grpc as rpc
from transport.channel import PROTOCOL


def join_folder(
    config: ActorConfig,
    run: Run,
    folder: SpoolFolder,
    channel: grpc.Channel,
    board: Board,
    console: ActorConsole,
    stop: StopSignal,
) -> tuple[Spool, Uplink] | None:
    """The spool of an actor and its way to the learner, before anything moves; None when told to stop meanwhile.

    Raises JoinError, and SpoolError where the learner has records that the spool lost.
    """
    run_id = run.description.run_id
    spool, recovered = folder.open(run_id, run.contract, config.spool_mb)
    if recovered:
        console.say(recovered)
    join = pb.JoinRequest(
        protocol=PROTOCOL,
        run_id=run_id,
        actor=folder.name,
        spool_id=spool.spool_id,
        contract=run.contract.to_message(),
        takeover=config.takeover,
        deliver_only=config.flush,
    )
    reply = join_run(rpc.LearnerStub(channel), join, console.say, lambda: stop.asked)
    if reply is None:
        return None
    spool.check_logged(reply.acknowledged)
    images = ImageCodec(run.contract.stored) if config.compression != "none" else None
    join.takeover = False  # once: what comes later may be the one that takes this one's place
    join.claim = reply.claim
    away = Away(config, console.say)
    return spool, Uplink(channel, spool, join, board, console.say, images, away.look)
