"""Settings of a learner. Imports neither torch nor grpc, so that a command line can list them at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from episodes.acting import ActingSettings
from learner.algorithms.sac_config import SACConfig
from learner.replay import ReplayConfig

RESUME = ("auto", "must", "never")
PREFETCH = ("auto", "on", "off")
COMPILE = ("auto", "off")
AUTOCAST = ("off", "bfloat16")
TLS = ("auto", "on", "mutual")


class ConfigError(ValueError):
    """Settings that cannot be run; the text names the key, the value and what to do."""


@dataclass(frozen=True)
class PolicyConfig:
    """What the policy starts from.

    Attributes:
        pretrained: A checkpoint folder or a policy file (.safetensors) to start from; empty for none. Its
            normalisation statistics come with it, and cloning is left out.
    """

    pretrained: str = ""


@dataclass(frozen=True)
class LogConfig:
    """The log of every step.

    Attributes:
        sync: ``commit``: a step is acknowledged when it is on the disk; ``os``: when the operating system has it.
        segment_mb: Size from which the log goes on in a new file [MB].
    """

    sync: str = "commit"
    segment_mb: int = 256


@dataclass(frozen=True)
class EvaluationConfig:
    """Scheduled evaluations: no person, on starts that neither training nor the final figure uses, and no exploration
    noise; with ``algorithm.stall_steps``, noise only where the policy has come to rest.

    Attributes:
        every_env_steps: Environment steps between two evaluations; 0 for none.
        episodes: Episodes of one evaluation.
        success_mark: Success rate an evaluation must reach.
        in_a_row: Evaluations in a row that must reach it before training may stop.
        patience_s: An evaluation from which nothing was heard for this long is given to another actor [s].
    """

    every_env_steps: int = 500
    episodes: int = 20
    success_mark: float = 0.95
    in_a_row: int = 2
    patience_s: float = 30.0


@dataclass(frozen=True)
class StopConfig:
    """When training ends by itself.

    Attributes:
        when_autonomous: Stop when the policy succeeds on its own: ``evaluation.in_a_row`` evaluations at the mark, a
            cycle of at most ``cycle_ratio`` times the operator's, and interventions below ``intervention_rate``.
        cycle_ratio: Share of the operator's mean cycle that the policy's may last.
        intervention_rate: Share of human steps in the last 20 training episodes that counts as autonomous.
        max_env_steps: Environment steps at which training stops; 0 for no cap.
        max_time_s: Time since the first actor step at which training stops [s]; 0 for no cap.
    """

    when_autonomous: bool = False
    cycle_ratio: float = 1.0
    intervention_rate: float = 0.05
    max_env_steps: int = 0
    max_time_s: float = 0.0


@dataclass(frozen=True)
class LearnerConfig:
    """Settings of ``tandem learner``.

    Attributes:
        env: Registered name of the environment.
        env_config: Its config (``envs.registry.env_config_type``).
        run: Run folder; empty for runs/<task>-<time>.
        address: host:port to listen on; port 0 takes a free one. 0.0.0.0 is every address of this machine.
        tls: ``auto`` encrypts wherever the address is not loopback, ``on`` on loopback too, ``mutual`` also asks
            every actor for a certificate of ``tandem certs``.
        tls_folder: Folder of the learner's certificates, made on first start; empty for ~/.config/tandem/tls.
        token_path: File with the token, made on first start, which comes before TANDEM_TOKEN; empty for TANDEM_TOKEN,
            else the default file.
        device: Where updates run: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        torch_threads: Threads of torch on the CPU; 0 leaves it to torch.
        prefetch: A thread reads the next batch while the present one trains: ``on``, ``off``, or ``auto``, which is on
            where updates run on CUDA.
        compile: ``auto`` compiles the networks of the algorithm where updates run on CUDA, in one process; ``off``
            never does.
        autocast: ``bfloat16`` computes the layers of image encoders in it during updates, for GPUs that do so quicker;
            weights, their gradients and everything after the encoder stay float32. ``off``: all is float32.
        resume: ``auto`` goes on where the run folder has a run, ``must`` refuses when it has none, ``never`` when it
            has one.
        demos: Folder of demonstrations (``tandem record``); empty for none.
        policy: What the policy starts from.
        algorithm: Settings of the algorithm.
        replay: Settings of the replay buffer.
        acting: What the actors are told.
        log: Settings of the log.
        learning: False for a control run: everything runs but the updates.
        max_ahead: Environment steps that lockstep actors may run ahead of the update-to-data ratio, all together.
        max_deficit_updates: Updates that a learner may be behind the ratio; more are dropped, and logged.
        publish_every: Updates between two published policy versions.
        policy_dtype: Dtype in which weights travel to the actors: ``float32``, or ``bfloat16`` for half the bytes and
            actions that differ by less than a hundredth of their range. Checkpoints and evaluations stay float32.
        evaluation: Scheduled evaluations.
        stop: When training ends by itself.
        checkpoint_every_s: Time between two checkpoints [s].
        keep_checkpoints: Newest checkpoints kept, besides the best, the one that is being evaluated, and those of the
            evaluations that may end training (``evaluation.in_a_row`` at most).
        report_every_s: Time between two lines of metrics [s].
        tracker: ``wandb``, ``trackio`` or ``none``.
        console: Progress on the learner's own terminal.
    """

    env: str
    env_config: Any
    run: str = ""
    address: str = "127.0.0.1:50051"
    tls: str = "auto"
    tls_folder: str = ""
    token_path: str = ""
    device: str = "auto"
    torch_threads: int = 1
    prefetch: str = "auto"
    compile: str = "auto"
    autocast: str = "off"
    resume: str = "auto"
    demos: str = ""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    algorithm: Any = field(default_factory=SACConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    acting: ActingSettings = field(default_factory=ActingSettings)
    log: LogConfig = field(default_factory=LogConfig)
    learning: bool = True
    max_ahead: int = 50
    max_deficit_updates: int = 2000
    publish_every: int = 50
    policy_dtype: str = "float32"
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    checkpoint_every_s: float = 30.0
    keep_checkpoints: int = 2
    report_every_s: float = 1.0
    tracker: str = "none"
    console: bool = True

    def __post_init__(self) -> None:
        if self.resume not in RESUME:
            raise ConfigError(f"resume must be one of {RESUME}. Got: {self.resume!r}")
        if self.prefetch not in PREFETCH:
            raise ConfigError(f"prefetch must be one of {PREFETCH}. Got: {self.prefetch!r}")
        if self.compile not in COMPILE:
            raise ConfigError(f"compile must be one of {COMPILE}. Got: {self.compile!r}")
        if self.autocast not in AUTOCAST:
            raise ConfigError(f"autocast must be one of {AUTOCAST}. Got: {self.autocast!r}")
        if self.tls not in TLS:
            raise ConfigError(f"tls must be one of {TLS}. Got: {self.tls!r}")
        for key in ("max_ahead", "publish_every", "keep_checkpoints"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key} must be at least 1. Got: {getattr(self, key)}")
        discount = self.algorithm.takeover_discount
        if discount != 1 and not self.replay.cut_at_takeover:
            raise ConfigError(
                f"algorithm.takeover_discount={discount:g} counts only where windows end at a takeover, and "
                "replay.cut_at_takeover=false lets them go on. Set algorithm.takeover_discount=1, or leave out "
                "replay.cut_at_takeover=false"
            )
        if self.stop.cycle_ratio <= 0:
            raise ConfigError(f"stop.cycle_ratio must be positive. Got: {self.stop.cycle_ratio}")
        if self.evaluation.every_env_steps < 0 or self.evaluation.episodes < 1 or self.evaluation.in_a_row < 1:
            raise ConfigError(
                "evaluation needs every_env_steps >= 0, episodes >= 1 and in_a_row >= 1. "
                f"Got: {self.evaluation.every_env_steps}, {self.evaluation.episodes} and {self.evaluation.in_a_row}"
            )
        if self.stop.when_autonomous and not self.evaluation.every_env_steps:
            raise ConfigError("stop.when_autonomous needs evaluations: set evaluation.every_env_steps above 0")
