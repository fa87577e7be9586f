"""Settings of SAC in the form of RLPD and HIL-SERL. Imports no torch, so that a command line can list them at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from learner.algorithms import checks


@dataclass(frozen=True)
class SACConfig:
    """SAC (arXiv 1812.05905) as RLPD (2302.02948) and HIL-SERL (2410.21845) run it.

    The defaults are for manipulation with demonstrations, a person and a sparse reward.

    Attributes:
        name: Registered name of the algorithm.
        batch_size: Transitions a critic update samples.
        demo_share: Share of them from the demonstration view: human steps and demonstrations.
        utd_ratio: Critic updates per online environment step.
        actor_every: Critic updates per actor update.
        n_step: Most environment steps a target looks ahead.
        gamma: Discount per environment step.
        takeover_discount: Factor on the value of what follows a step after which a person takes over, from 0 to 1: less
            than 1 does not credit the policy with what the person then reaches.
        tau: Share of the critic that its target takes over in each critic update.
        critics: Size of the critic ensemble.
        critic_subset: Critics, chosen at random in each update, that form a target; 0 for all (RLPD: 2 of 10).
        target_reduce: ``min`` or ``mean`` over those critics.
        actor_reduce: ``mean`` or ``min`` over all critics, in the actor's loss.
        hidden: Units of each hidden layer (Linear, LayerNorm, ReLU) of actor and critics.
        critic_lr: Adam's step size for the critics.
        actor_lr: Adam's step size for the actor, cloning included.
        temperature_lr: Adam's step size for the logarithm of the temperature.
        temperature_init: Temperature at the start.
        target_entropy_per_action: Entropy the temperature steers to, in nats per action component.
        entropy_backup: Whether targets carry the entropy of the next action. Targets are then never clamped.
        clamp_targets: Clamp targets to the returns the contract's reward bounds allow, where it states them.
        initial_log_std: Logarithm of the actor's standard deviation before squashing, at the start.
        std_min: Its least standard deviation.
        std_max: Its greatest standard deviation.
        input_noise: Noise on normalised inputs in updates, in standard deviations.
        input_clip: Normalised inputs are clipped to this many standard deviations.
        std_floor: Least standard deviation of an input, in its own unit.
        clone_updates: Cloning updates on demonstrations before learning starts; none where there are none.
        q_weight: Weight of value and entropy in the actor's loss; 0, for comparisons, leaves the cloning term alone:
            DAgger (arXiv 1011.0686) where a person intervenes.
        clone_weight: Weight of the cloning term on human actions in the actor's loss, at the start; 0 for none.
        clone_decay_updates: Critic updates in which that weight falls to 1/e; 0 keeps it.
        clone_filter: Whether that term counts only actions that the critics value above the policy's own.
        clone_std: Whether cloning also fits the standard deviation.
        action_edge: Recorded actions are moved this far from -1 and 1 before their log-probability is taken.
        critic_warmup_updates: Critic updates with the actor frozen, where it starts from a cloned or given policy.
        ema: Share of the policy that its moving average takes over in each actor update.
        gripper: ``continuous``, or ``discrete``: a critic of its own chooses to close, keep or open it (HIL-SERL).
        gripper_penalty: With ``discrete``, added to that critic's reward for each change of the gripper's side.
        gripper_temperature: With ``discrete``, values of that critic over this are the logits of cloning.
        encoder: Registered name of the image encoder (``policies.encoder_kinds``): ``small``, ``lerobot``, ``drqv2``,
            and ``resnet10`` and ``resnet18``, whose convolutions are pretrained and frozen.
        encoder_size: Features it gives; 0 for its own default.
        encoder_weights: Its pretrained weights: a safetensors file, or ``hub:OWNER/NAME/FILE``.
        encoder_sha256: What that file must hash to; empty where any file will do.
        encoder_lr: Adam's step size for the encoder, cloning included.
        encoder_frozen: ``never``: the critics' loss trains the encoder throughout; ``cloned``: it stays as cloning
            left it, where there was cloning.
        encoder_cache_copies: With ``cloned``, randomly shifted copies of each observation whose features are kept, so
            that the encoder sees each once; 0 for none.
        encoder_refresh_every: With ``cloned``, updates after which it is trained again, each time; 0 for never.
        encoder_refresh_updates: For so many updates.
        target_encoder: Whether target networks see through a moving average of the encoder, instead of itself.
        clone_encoder: Whether the cloning term on human actions trains the encoder too.
        shift_px: Images in updates are shifted at random by up to this many pixels; 0 for none.
    """

    name: str = "sac"
    batch_size: int = 128
    demo_share: float = 0.5
    utd_ratio: float = 2.0
    actor_every: int = 1
    n_step: int = 3
    gamma: float = 0.97
    takeover_discount: float = 1.0
    tau: float = 0.005
    critics: int = 2
    critic_subset: int = 0
    target_reduce: str = "min"
    actor_reduce: str = "mean"
    hidden: tuple[int, ...] = (256, 256)
    critic_lr: float = 3e-4
    actor_lr: float = 3e-4
    temperature_lr: float = 1e-3
    temperature_init: float = 0.001
    target_entropy_per_action: float = -1.0
    entropy_backup: bool = False
    clamp_targets: bool = True
    initial_log_std: float = -2.5
    std_min: float = 1e-5
    std_max: float = 5.0
    input_noise: float = 0.1
    input_clip: float = 5.0
    std_floor: float = 1e-2
    clone_updates: int = 500
    q_weight: float = 1.0
    clone_weight: float = 0.01
    clone_decay_updates: float = 4000.0
    clone_filter: bool = False
    clone_std: bool = False
    action_edge: float = 1e-2
    critic_warmup_updates: int = 200
    ema: float = 0.005
    gripper: str = "continuous"
    gripper_penalty: float = -0.02
    gripper_temperature: float = 0.1
    encoder: str = "small"
    encoder_size: int = 0
    encoder_weights: str = ""
    encoder_sha256: str = ""
    encoder_lr: float = 3e-4
    encoder_frozen: str = "never"
    encoder_cache_copies: int = 4
    encoder_refresh_every: int = 0
    encoder_refresh_updates: int = 0
    target_encoder: bool = False
    clone_encoder: bool = True
    shift_px: int = 2

    def __post_init__(self) -> None:
        checks.one_of(self, ("min", "mean"), "target_reduce", "actor_reduce")
        checks.one_of(self, ("never", "cloned"), "encoder_frozen")
        checks.one_of(self, ("continuous", "discrete"), "gripper")
        checks.at_least_one(self, "batch_size", "n_step", "critics", "actor_every")
        checks.positive(self, "utd_ratio", "critic_lr", "actor_lr", "encoder_lr", "temperature_init", "tau", "ema")
        checks.positive(self, "std_floor", "gripper_temperature")
        checks.not_positive(self, "gripper_penalty")
        checks.not_negative(self, "encoder_size", "encoder_cache_copies", "shift_px")
        checks.not_negative(self, "encoder_refresh_every", "encoder_refresh_updates")
        checks.between_0_and_1(self, "gamma", "action_edge")
        checks.from_0_to_1(self, "demo_share", "takeover_discount")
        if not 0 <= self.critic_subset <= self.critics:
            raise ValueError(
                f"algorithm.critic_subset must be from 0 to critics={self.critics}. Got: {self.critic_subset}"
            )

    def clone_weight_at(self, updates: int) -> float:
        """Weight of the cloning term on human actions after so many updates."""
        if not self.clone_decay_updates:
            return self.clone_weight
        return self.clone_weight * math.exp(-updates / self.clone_decay_updates)

    def trains_encoder(self, updates: int, *, cloned: bool) -> bool:
        """Whether the encoder is trained after so many updates, where the policy was ``cloned`` or not."""
        if self.encoder_frozen == "never" or not cloned:
            return True
        every = self.encoder_refresh_every
        return bool(every) and updates >= every and updates % every < self.encoder_refresh_updates
