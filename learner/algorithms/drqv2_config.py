"""Settings of DrQ-v2. Imports no torch, so that a command line can list them at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from learner.algorithms import checks


@dataclass(frozen=True)
class DrQv2Config:
    """DrQ-v2 (arXiv 2107.09645), and beside it what demonstrations and a person add.

    The defaults are the published recipe: `warmup=uniform warmup_steps=2000` and no demonstrations complete it. Presets
    turn on what helps with demonstrations.

    Attributes:
        name: Registered name of the algorithm.
        batch_size: Transitions an update samples.
        demo_share: Share of them from the demonstration view: human steps and demonstrations.
        utd_ratio: Critic updates per online environment step.
        actor_every: Critic updates per actor update.
        n_step: Most environment steps a target looks ahead.
        gamma: Discount per environment step.
        takeover_discount: Factor on the value of what follows a step after which a person takes over, from 0 to 1: less
            than 1 does not credit the policy with what the person then reaches.
        tau: Share of the critics that their targets take over in each update.
        encoder: Registered name of the image encoder (``policies.encoders``); ``drqv2`` is the published one.
        encoder_size: Features of the encoder, where it ends in a linear layer; 0 for its own; ``drqv2`` has none.
        encoder_weights: Of a pretrained encoder: a safetensors file, or ``hub:OWNER/NAME[@REVISION]/FILE``.
        encoder_sha256: What that file must hash to; empty for any.
        trunk_size: Units of the trunk (Linear, LayerNorm, tanh) that actor and critics each put on image features.
        hidden: Units of each hidden layer (Linear, ReLU) of actor and critics.
        critic_lr: Adam's step size for the critics.
        actor_lr: Adam's step size for the actor, cloning included.
        encoder_lr: Adam's step size for the encoder, cloning included.
        shift_px: Images in updates are shifted at random by up to this many pixels; 0 for none.
        std_start: Standard deviation of exploration at the start.
        std_start_pretrained: The same, where the actor starts from a cloned or given policy.
        std_end: At the end of its linear schedule, and from then on.
        std_decay_steps: Environment steps of the schedule, from when learning starts: it counts updates, and takes
            ``utd_ratio`` of them for a step, so that it goes on where a checkpoint left it, on any machine.
        noise_clip: Noise on the actions of targets and of the actor's loss is clipped to this, either way.
        clamp_targets: Clamp targets to the returns the contract's reward bounds allow, where it states them.
        input_noise: Noise on normalised vectors in updates, in standard deviations.
        input_clip: Normalised vectors are clipped to this many standard deviations.
        std_floor: Least standard deviation of a vector's component, in its own unit.
        clone_updates: Cloning updates of actor and encoder on demonstrations before learning starts.
        clone_weight: Weight of the cloning term on human actions in the loss of actor and encoder, at the start.
        clone_decay_updates: Updates in which that weight falls to 1/e; 0 keeps it.
        critic_warmup_updates: Updates of the critics alone, where the actor starts from a cloned or given policy.
        ema: Share of the actor that its moving average takes over in each update; 1 evaluates the actor itself.
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
        checks.at_least_one(self, "batch_size", "n_step", "actor_every", "trunk_size", "std_decay_steps")
        checks.positive(self, "utd_ratio", "critic_lr", "actor_lr", "encoder_lr", "std_floor")
        checks.above_0_to_1(self, "tau", "ema")
        checks.not_negative(self, "encoder_size", "shift_px", "noise_clip", "input_noise", "critic_warmup_updates")
        checks.not_negative(self, "std_start", "std_start_pretrained", "std_end")
        checks.not_negative(self, "clone_updates", "clone_weight", "clone_decay_updates")
        checks.between_0_and_1(self, "gamma")
        checks.from_0_to_1(self, "demo_share", "takeover_discount")

    def exploration_std(self, updates: int, *, pretrained: bool) -> float:
        """Standard deviation of exploration after ``updates`` updates."""
        start = self.std_start_pretrained if pretrained else self.std_start
        passed = min(updates / (self.utd_ratio * self.std_decay_steps), 1.0)
        return (1.0 - passed) * start + passed * self.std_end

    def clone_weight_at(self, updates: int) -> float:
        """Weight of the cloning term on human actions after ``updates`` updates."""
        if not self.clone_decay_updates:
            return self.clone_weight
        return self.clone_weight * math.exp(-updates / self.clone_decay_updates)
