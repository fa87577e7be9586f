"""Settings of SAC in the form of RLPD and HIL-SERL. Imports no torch, so that a command line can list them at once."""

from __future__ import annotations

from dataclasses import dataclass

from learner.algorithms import checks
from learner.algorithms.config import ActorCriticConfig


@dataclass(frozen=True)
class SACConfig(ActorCriticConfig):
    """SAC (arXiv 1812.05905) as RLPD (2302.02948) and HIL-SERL (2410.21845) run it.

    The defaults are for manipulation with demonstrations, a person and a sparse reward.

    Attributes:
        critics: Size of the critic ensemble.
        critic_subset: Critics, chosen at random in each update, that form a target; 0 for all (RLPD: 2 of 10).
        target_reduce: ``min`` or ``mean`` over those critics.
        actor_reduce: ``mean`` or ``min`` over all critics, in the actor's loss.
        temperature_lr: Adam's step size for the logarithm of the temperature.
        temperature_init: Temperature at the start.
        target_entropy_per_action: Entropy the temperature steers to, in nats per action component.
        entropy_backup: Whether targets carry the entropy of the next action. Targets are then never clamped.
        initial_log_std: Logarithm of the actor's standard deviation before squashing, at the start.
        std_min: Its least standard deviation.
        std_max: Its greatest standard deviation.
        q_weight: Weight of value and entropy in the actor's loss; 0, for comparisons, leaves the cloning term alone:
            DAgger (arXiv 1011.0686) where a person intervenes.
        clone_filter: Whether that term counts only actions that the critics value above the policy's own.
        clone_std: Whether cloning also fits the standard deviation.
        action_edge: Recorded actions are moved this far from -1 and 1 before their log-probability is taken.
        gripper: ``continuous``, or ``discrete``: a critic of its own chooses to close, keep or open it (HIL-SERL).
        gripper_penalty: With ``discrete``, added to that critic's reward for each change of the gripper's side.
        gripper_temperature: With ``discrete``, values of that critic over this are the logits of cloning.
        encoder_frozen: ``never``: the critics' loss trains the encoder throughout; ``cloned``: it stays as cloning
            left it, or as the given policy has it, where there was either.
        encoder_cache_copies: With ``cloned``, randomly shifted copies of each observation whose features are kept, so
            that the encoder sees each once; 0 for none. Beside the replay buffer they take 4 bytes a feature and copy.
        encoder_refresh_every: With ``cloned``, updates after which it is trained again, each time; 0 for never.
        encoder_refresh_updates: For so many updates.
        target_encoder: Whether target networks see through a moving average of the encoder, instead of itself.
        clone_encoder: Whether the cloning term on human actions trains the encoder too.
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
    stall_steps: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of(self, ("min", "mean"), "target_reduce", "actor_reduce")
        checks.one_of(self, ("never", "cloned"), "encoder_frozen")
        checks.one_of(self, ("continuous", "discrete"), "gripper")
        checks.at_least_one(self, "critics")
        checks.positive(self, "temperature_init", "gripper_temperature")
        checks.not_positive(self, "gripper_penalty")
        checks.not_negative(self, "encoder_cache_copies", "encoder_refresh_every", "encoder_refresh_updates")
        checks.between_0_and_1(self, "action_edge")
        if not 0 <= self.critic_subset <= self.critics:
            raise ValueError(
                f"algorithm.critic_subset must be from 0 to critics={self.critics}. Got: {self.critic_subset}"
            )

    def trains_encoder(self, updates: int, *, cloned: bool) -> bool:
        """Whether the encoder is trained after so many updates, where the policy was ``cloned``, or given, or not."""
        if self.encoder_frozen == "never" or not cloned:
            return True
        every = self.encoder_refresh_every
        return bool(every) and updates >= every and updates % every < self.encoder_refresh_updates
