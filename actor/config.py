"""Settings of an actor: what belongs to the machine beside the robot. The learner tells it everything else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reward.config import EnvReward, RewardConfig

_KEYS = {
    "learner_address": "learner.address",
    "token_path": "learner.token_path",
    "ca": "learner.ca",
    "certificate": "learner.certificate",
    "flush": "flush",
    "takeover": "takeover",
    "operator": "operator",
    "pacing": "pacing",
    "keyboard": "keyboard",
    "view_port": "view_port",
}
COMPRESSIONS = ("none", "zlib")


@dataclass(frozen=True)
class ActorConfig:
    """Settings of ``tandem actor``.

    Attributes:
        learner_address: host:port of the learner, as seen from here (often the near end of ``ssh -L``).
        token_path: File with the token of the run, which comes before TANDEM_TOKEN; empty for TANDEM_TOKEN, else the
            default file.
        ca: SHA-256 fingerprint of the learner's authority, as its join line says; empty for plain text on loopback.
        certificate: File of ``tandem certs``, where the learner asks its actors for one; says what ``ca`` does.
        flush: Only deliver what waits in the spool of an earlier actor of this name, or without a name of every actor
            that ran here, and end; nothing moves.
        takeover: End another actor of this name, here or elsewhere, which delivers what it has, and take its place.
        name: Name of this actor in logs and metrics; empty for the host's name (numbered where that is taken).
        operator: Who can take over: one of the environment's operators (``none``, ``scripted``, ``keyboard``).
        keyboard: How keys are heard: ``auto``, ``pynput`` (a desktop) or ``terminal`` (SSH, Wayland).
        spool: Folder of the spools; empty for ~/.local/state/tandem/spools.
        spool_mb: Size of the spool in MB: what can wait here while the learner is away.
        pacing: ``lockstep``, ``realtime``, or empty for what the learner says.
        control_hz: Control rate in realtime pacing; 0 for the contract's.
        max_action: Largest magnitude of a sent action component; the learner cannot widen it.
        max_step_m: Longest move of one step in [m] a learner may ask of a real robot; 0 for the environment's default.
        stale_observation_s: Age of an observation from which the arm holds.
        watchdog_s: A control period longer than this is held (with hardware or in realtime pacing).
        uniform_on_hardware: Allow uniform random warm-up on a real robot.
        policy_mb: Largest policy accepted, in MB, its frozen part included.
        compression: Of images on their way to the learner, lossless: ``none`` or ``zlib``.
        device: Where the policy runs: ``auto`` (CUDA where there is any, else the CPU), ``cpu``, ``cuda`` or ``mps``.
        torch_threads: Threads of the policy on the CPU.
        status_every_s: Period of the status line where there is no terminal.
        view_port: Port on this machine's loopback where a browser shows the simulated robot live; 0 for none.
        reward: Where rewards and successes come from.
    """

    learner_address: str = "localhost:50051"
    token_path: str = ""
    ca: str = ""
    certificate: str = ""
    flush: bool = False
    takeover: bool = False
    name: str = ""
    operator: str = "none"
    keyboard: str = "auto"
    spool: str = ""
    spool_mb: int = 256
    pacing: str = ""
    control_hz: float = 0.0
    max_action: float = 1.0
    max_step_m: float = 0.0
    stale_observation_s: float = 0.5
    watchdog_s: float = 1.0
    uniform_on_hardware: bool = False
    policy_mb: int = 64
    compression: str = "none"
    device: str = "auto"
    torch_threads: int = 1
    status_every_s: float = 5.0
    view_port: int = 0
    reward: RewardConfig = field(default_factory=EnvReward)


def key_of(field_name: str) -> str:
    """The key on the command line of a field of ActorConfig but ``reward``."""
    return _KEYS.get(field_name, f"actor.{field_name}")


@dataclass(frozen=True)
class ControlConfig:
    """What the comms process tells the control process it starts; one JSON object on its standard input.

    Attributes:
        env: Registered name of the environment.
        env_settings: Its config, as the base64 of serialized ``tandem.v1.RunDescription.env_settings``.
        name: Name of the actor.
        run_id: The run.
        spool_path: The spool file.
        operator: Who can take over.
        pacing: ``lockstep`` or ``realtime``.
        control_hz: Control rate in realtime pacing, Hz.
        warmup: ``policy``, ``uniform`` or ``operator``: who acts while version 0 of the policy is the newest.
        exploration_share: Share of training episodes in which the policy explores.
        seed: Seed of the run.
        max_action, stale_observation_s, watchdog_s, device, torch_threads, view_port: As in ActorConfig.
        board_fd, policy_fd, evaluation_fd, frozen_fd, reward_fd: Shared memory blocks (actor.shared); the last one for
            ``reward=classifier`` alone.
        reward: ``env``, ``classifier`` or ``human``.
        reward_settings: Fields of its config.
    """

    env: str
    env_settings: str
    name: str
    run_id: str
    spool_path: str
    operator: str
    pacing: str
    control_hz: float
    warmup: str
    exploration_share: float
    seed: int
    max_action: float
    stale_observation_s: float
    watchdog_s: float
    device: str
    torch_threads: int
    view_port: int
    board_fd: int
    policy_fd: int
    evaluation_fd: int
    frozen_fd: int
    reward_fd: int = -1
    reward: str = "env"
    reward_settings: dict[str, Any] = field(default_factory=dict)
