"""Settings of DrQ-v2. Imports no torch, so that a command line can list them at once."""

from __future__ import annotations

from dataclasses import dataclass

from learner.algorithms import checks
from learner.algorithms.config import ActorCriticConfig


@dataclass(frozen=True)
class DrQv2Config(ActorCriticConfig):
    """DrQ-v2 (arXiv 2107.09645), and beside it what demonstrations and a person add.

    The defaults are the published recipe: `warmup=uniform warmup_steps=2000 exploration_share=1` and no demonstrations
    complete it. Presets
    turn on what helps with demonstrations.

    Attributes:
        trunk_size: Units of the trunk (Linear, LayerNorm, tanh) that actor and critics each put on image features.
        std_start: Standard deviation of exploration at the start.
        std_start_pretrained: The same, where the actor starts from a cloned or given policy.
        std_end: At the end of its linear schedule, and from then on.
        std_decay_steps: Environment steps of the schedule, from when learning starts: it counts updates, and takes
            ``utd_ratio`` of them for a step, so that it goes on where a checkpoint left it, on any machine.
        noise_clip: Noise on the actions of targets and of the actor's loss is clipped to this, either way.
    """

    name: str = "drqv2"
    batch_size: int = 256
    demo_share: float = 0.5
    utd_ratio: float = 0.5
    actor_every: int = 1
    n_step: int = 3
    gamma: float = 0.99
    takeover_discount: float = 1.0
    tau: float = 0.01
    encoder: str = "drqv2"
    encoder_size: int = 0
    encoder_weights: str = ""
    encoder_sha256: str = ""
    trunk_size: int = 50
    hidden: tuple[int, ...] = (1024, 1024)
    critic_lr: float = 1e-4
    actor_lr: float = 1e-4
    encoder_lr: float = 1e-4
    shift_px: int = 4
    stall_steps: int = 0
    std_start: float = 1.0
    std_start_pretrained: float = 0.2
    std_end: float = 0.1
    std_decay_steps: int = 100_000
    noise_clip: float = 0.3
    clamp_targets: bool = False
    input_noise: float = 0.0
    input_clip: float = 5.0
    std_floor: float = 1e-2
    clone_updates: int = 0
    clone_weight: float = 0.0
    clone_decay_updates: float = 0.0
    critic_warmup_updates: int = 200
    ema: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least_one(self, "trunk_size", "std_decay_steps")
        checks.not_negative(self, "noise_clip", "std_start", "std_start_pretrained", "std_end")

    def exploration_std(self, updates: int, *, pretrained: bool) -> float:
        """Standard deviation of exploration after ``updates`` updates."""
        start = self.std_start_pretrained if pretrained else self.std_start
        passed = min(updates / (self.utd_ratio * self.std_decay_steps), 1.0)
        return (1.0 - passed) * start + passed * self.std_end
