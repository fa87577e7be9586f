"""Finding a learner: waiting for it, learning what its run is, and checking that this machine can act in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc

from actor.config import COMPRESSIONS, ActorConfig
from actor.operators import check_operator
from actor.uplink import FATAL, NAME_WAIT_S, SaidRarely
from envs.errors import EnvError
from envs.registry import derive_contract, env_config_type, env_entry
from episodes.acting import ActingSettings
from episodes.contract import Contract
from transport import service_pb2 as pb
from transport import service_pb2_grpc as rpc
from transport.channel import PROTOCOL, UNARY_TIMEOUT_S
from transport.plain_text import plain_text
from transport.settings import SettingError, config_from
from transport.token import token_source
from transport.trust import Trust, find_trust
from transport.unanswered import Unanswered, unanswered, why_unanswered

SAY_EVERY_S = 3.0


class JoinError(RuntimeError):
    """A learner this actor cannot serve. The text says what to do."""


@dataclass(frozen=True)
class Run:
    """What the learner says its run is, and what this machine makes of it.

    Attributes:
        description: As received.
        env_config: Config of the environment, within this machine's limits.
        contract: Derived here from the environment's config.
        acting: How actors act.
        hardware: Whether a real robot moves.
        lockstep: Whether steps wait for the learner.
        control_hz: Control rate in realtime pacing.
    """

    description: pb.RunDescription
    env_config: Any
    contract: Contract
    acting: ActingSettings
    hardware: bool
    lockstep: bool
    control_hz: float


class Found(NamedTuple):
    """A learner that answers, and what to open channels to it with."""

    trust: Trust | None


def await_learner(config: ActorConfig, say: Callable[[str], None], stopped: Callable[[], bool]) -> Found | None:
    """Makes sure who the learner is, waiting for as long as nobody answers; None when told to stop meanwhile.

    Raises transport.certificates.CertificateError where somebody else answers, or nothing says who it should be.
    """
    address, due_s = config.learner_address, 0.0
    while not stopped():
        try:
            return Found(find_trust(address, config.ca, config.certificate))
        except OSError as error:
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + SAY_EVERY_S
                say(f"waiting for a learner: {unanswered(address, error)}")
        time.sleep(0.2)
    return None


def await_description(
    stub: rpc.LearnerStub, config: ActorConfig, say: Callable[[str], None], stopped: Callable[[], bool]
) -> pb.RunDescription | None:
    """The learner's description, waiting for as long as nobody answers; None when told to stop meanwhile.

    Raises JoinError where somebody answers and refuses, and where waiting does not help, as two looks in a row say: a
    learner that is going down may look like one that refuses.
    """
    address, due_s, before = config.learner_address, 0.0, Unanswered()
    while not stopped():
        try:
            return stub.Describe(pb.DescribeRequest(protocol=PROTOCOL), timeout=2.0)
        except grpc.RpcError as error:
            if error.code() in FATAL:
                wrong_token = error.code() is grpc.StatusCode.UNAUTHENTICATED
                what = f"the token of {token_source(config.token_path)}" if wrong_token else "this actor"
                raise JoinError(f"the learner at {address} refuses {what}: {plain_text(error.details())}") from None
            if time.monotonic() >= due_s:
                found = why_unanswered(address, config.ca, config.certificate)
                if found.final and found == before:
                    raise JoinError(str(found)) from None
                before = found
                due_s = time.monotonic() + SAY_EVERY_S
                why = (
                    f"{found}"
                    if found.what
                    else f"the one at {address} does not answer yet: {plain_text(error.details())}"
                )
                say(f"waiting for a learner: {why}")
        time.sleep(0.2)
    return None


def understand(description: pb.RunDescription, config: ActorConfig) -> Run:
    """Checks a description against what this machine has and, unless with ``flush``, allows. Raises JoinError."""
    if description.protocol != PROTOCOL:
        raise JoinError(
            f"protocol: expected {PROTOCOL}, got {description.protocol}. "
            "Install the same version of Tandem on both sides"
        )
    try:
        entry = env_entry(description.env)
        env_config: Any = config_from(env_config_type(description.env), description.env_settings)
        if (entry.hardware or config.max_step_m) and not config.flush:
            env_config = entry.limit(env_config, config.max_step_m)
        acting = config_from(ActingSettings, description.acting)
        contract = derive_contract(description.env, env_config)
        if not config.flush:
            check_operator(config.operator, description.env)
    except (EnvError, SettingError, ValueError) as error:
        raise JoinError(
            f"this machine cannot run the learner's environment {plain_text(description.env)!r}: "
            f"{plain_text(str(error))}"
        ) from None
    if config.compression not in COMPRESSIONS:
        raise JoinError(f"actor.compression must be one of {COMPRESSIONS}. Got: {config.compression!r}")
    if config.flush:  # nothing moves
        return Run(description, env_config, contract, acting, entry.hardware, lockstep=True, control_hz=0.0)
    pacing = config.pacing or acting.pacing
    if pacing == "auto":
        pacing = "realtime" if entry.hardware else "lockstep"
    if pacing not in ("lockstep", "realtime"):
        raise JoinError(f"pacing must be lockstep, realtime or auto. Got: {plain_text(pacing)!r}")
    if pacing == "lockstep" and entry.hardware and config.pacing != "lockstep":
        raise JoinError(
            "pacing: expected realtime, since a real robot moves here, got lockstep from the learner. "
            "Set pacing=auto there, or allow it here with pacing=lockstep"
        )
    if acting.warmup not in ("policy", "uniform", "operator"):
        raise JoinError(f"warmup must be policy, uniform or operator. Got: {plain_text(acting.warmup)!r}")
    if acting.warmup == "uniform" and entry.hardware and not config.uniform_on_hardware:
        raise JoinError(
            "the learner wants uniform random actions on a real robot until learning starts. Set warmup=policy or "
            "warmup=operator at the learner, or allow it here with actor.uniform_on_hardware=true"
        )
    if acting.warmup == "operator" and config.operator == "none":
        raise JoinError("the learner wants warmup=operator, and this actor has no operator. Set operator=NAME here")
    control_hz = config.control_hz or contract.interface.control_hz
    if pacing == "realtime" and not control_hz > 0:
        raise JoinError(
            f"realtime pacing needs a control rate, and {description.env} states none: set actor.control_hz=10"
        )
    return Run(description, env_config, contract, acting, entry.hardware, pacing == "lockstep", control_hz)


def join_run(
    stub: rpc.LearnerStub, join: pb.JoinRequest, say: Callable[[str], None], stopped: Callable[[], bool]
) -> pb.JoinReply | None:
    """Joins before anything moves, so that a refusal is one message. None when told to stop meanwhile.

    Where the name is taken, it waits for a killed predecessor to be gone; where the learner is away, for as long as it
    is. Raises JoinError.
    """
    say, give_up_s = SaidRarely(say), 0.0
    while not stopped():
        try:
            reply = stub.Join(join, timeout=UNARY_TIMEOUT_S)
            if reply.replaced and not join.deliver_only:
                raise JoinError(
                    f"another actor took over the name {join.actor!r}. What waits here is delivered by flush=true; "
                    "takeover=true takes the name back"
                )
            return reply
        except grpc.RpcError as error:
            now_s = time.monotonic()
            taken = error.code() is grpc.StatusCode.ALREADY_EXISTS
            if error.code() in FATAL or (taken and 0.0 < give_up_s <= now_s):
                raise JoinError(f"the learner refuses this actor: {plain_text(error.details())}") from None
            if taken:
                give_up_s = give_up_s or now_s + NAME_WAIT_S
                say(f"an actor named {join.actor!r} serves this learner; waiting for it to be gone")
            else:
                say(f"the learner does not take this actor now; trying again: {plain_text(error.details())}")
        time.sleep(0.2)
    return None
