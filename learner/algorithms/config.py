"""Settings that the algorithms share. Imports no torch, so that a command line can list them at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from learner.algorithms import checks


@dataclass(frozen=True)
class ActorCriticConfig:
    """What SAC and DrQ-v2 both set; each has defaults of its own.

    Attributes:
        name: Registered name of the algorithm.
        batch_size: Transitions an update of the critics samples.
        demo_share: Share of them from the demonstration view: human steps and demonstrations.
        utd_ratio: Critic updates per online environment step.
        actor_every: Critic updates per actor update.
        n_step: Most environment steps a target looks ahead.
        gamma: Discount per environment step.
        takeover_discount: Factor on the value of what follows a step after which a person takes over, from 0 to 1: less
            than 1 does not credit the policy with what the person then reaches, and needs replay.cut_at_takeover.
        tau: Share of the critics that their targets take over in each critic update.
        hidden: Units of each hidden layer of actor and critics.
        critic_lr: Adam's step size for the critics.
        actor_lr: Adam's step size for the actor, cloning included.
        clamp_targets: Clamp targets to the returns the contract's reward bounds allow, where it states them.
        input_noise: Noise on normalised vectors in updates, in standard deviations.
        input_clip: Normalised vectors are clipped to this many standard deviations.
        std_floor: Least standard deviation of a vector's component, in its own unit.
        clone_updates: Cloning updates of actor and encoder on demonstrations before learning starts; none where there
            are none.
        clone_weight: Weight of the cloning term on human actions in the loss of actor and encoder, at the start; 0 for
            none.
        clone_decay_updates: Critic updates in which that weight falls to 1/e; 0 keeps it.
        critic_warmup_updates: Updates of the critics alone, where the actor starts from a cloned or given policy.
        ema: Share of the policy that its moving average takes over in each actor update of SAC, and of DrQ-v2, whose
            critics train the policy's encoder, in each update after the critics' warm-up; 1 evaluates the policy
            itself.
        encoder: Registered name of the image encoder (``policies.encoder_kinds``): ``small``, ``keypoints``,
            ``lerobot``, ``drqv2``, and ``resnet10`` and ``resnet18``, whose convolutions are pretrained and frozen.
        encoder_size: Features it gives; 0 for its own default; ``drqv2`` has no choice.
        encoder_weights: Its pretrained weights: a safetensors file, or ``hub:OWNER/NAME[@REVISION]/FILE``.
        encoder_sha256: What that file must hash to; empty where any file will do.
        encoder_lr: Adam's step size for the encoder, cloning included.
        shift_px: Images in updates are shifted at random by up to this many pixels; 0 for none.
        stall_steps: A policy that acts without noise, and whose vector inputs have hardly moved for so many steps, acts
            with its noise for a while (``policies.stall``); 0 for never.
    """

    name: str
    batch_size: int
    demo_share: float
    utd_ratio: float
    actor_every: int
    n_step: int
    gamma: float
    takeover_discount: float
    tau: float
    hidden: tuple[int, ...]
    critic_lr: float
    actor_lr: float
    clamp_targets: bool
    input_noise: float
    input_clip: float
    std_floor: float
    clone_updates: int
    clone_weight: float
    clone_decay_updates: float
    critic_warmup_updates: int
    ema: float
    encoder: str
    encoder_size: int
    encoder_weights: str
    encoder_sha256: str
    encoder_lr: float
    shift_px: int
    stall_steps: int

    def __post_init__(self) -> None:
        checks.at_least_one(self, "batch_size", "n_step", "actor_every")
        checks.positive(self, "utd_ratio", "critic_lr", "actor_lr", "encoder_lr", "std_floor")
        checks.above_0_to_1(self, "tau", "ema")
        checks.not_negative(self, "encoder_size", "shift_px", "stall_steps", "input_noise", "critic_warmup_updates")
        checks.not_negative(self, "clone_updates", "clone_weight", "clone_decay_updates")
        checks.between_0_and_1(self, "gamma")
        checks.from_0_to_1(self, "demo_share", "takeover_discount")

    def clone_weight_at(self, updates: int) -> float:
        """Weight of the cloning term on human actions after so many updates."""
        if not self.clone_decay_updates:
            return self.clone_weight
        return self.clone_weight * math.exp(-updates / self.clone_decay_updates)
