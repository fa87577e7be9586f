"""The names of the metrics, with unit and meaning: the same in metrics.jsonl, wandb, trackio, status and report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One logged number.

    Attributes:
        name: Key in metrics.jsonl, the trackers and ``Status.metrics``.
        unit: Unit, empty for a plain number; ``rate`` is a share in [0, 1].
        meaning: What it is, in one line.
    """

    name: str
    unit: str
    meaning: str


WINDOW_EPISODES = 20  # of the running rates over training episodes

ENV_STEPS = "env_steps"
UPDATES = "updates"
TIME_S = "time_s"
AXES = (ENV_STEPS, UPDATES, TIME_S)

SUCCESS_RATE = "success_rate"
SUCCESS_RATE_AUTONOMOUS = "success_rate_autonomous"
EVAL_SUCCESS_RATE = "eval_success_rate"
EVAL_CYCLE_STEPS = "eval_cycle_steps"
EVAL_RETURN = "eval_return"
INTERVENTION_RATE = "intervention_rate"
INTERVENTION_RATE_EPISODES = "intervention_rate_episodes"
EPISODES = "episodes"
EPISODE_RETURN = "episode_return"
EPISODE_LENGTH = "episode_length"
RETURN_TO_GO = "return_to_go"
CRITIC_LOSS = "critic_loss"
ACTOR_LOSS = "actor_loss"
CLONING_LOSS = "cloning_loss"
CLONING_UPDATES = "cloning_updates"
CLONING_UPDATES_DUE = "cloning_updates_due"
TEMPERATURE = "temperature"
ENTROPY = "entropy"
GRIPPER_LOSS = "gripper_loss"
EXPLORATION_STD = "exploration_std"
Q_MEAN = "q_mean"
UTD_RATIO = "utd_ratio"
UPDATES_PER_S = "updates_per_s"
DROPPED_UPDATES = "dropped_updates"
POLICY_LAG_STEPS = "policy_lag_steps"
PUBLISH_TO_ACTING_MS_P50 = "publish_to_acting_ms_p50"
PUBLISH_TO_ACTING_MS_P99 = "publish_to_acting_ms_p99"
REPLAY_SIZE = "replay_size"
DEMO_SIZE = "demo_size"
DEMO_SHARE = "demo_share"
HELD_STEPS = "held_steps"
INTERRUPTED_STEPS = "interrupted_steps"
CONTROL_PERIOD_MS_P50 = "control_period_ms_p50"
CONTROL_PERIOD_MS_P99 = "control_period_ms_p99"

METRICS: tuple[Metric, ...] = (
    Metric(ENV_STEPS, "steps", "environment steps of training episodes, human ones included; an x axis"),
    Metric(UPDATES, "updates", "critic updates since learning started; an x axis"),
    Metric(TIME_S, "s", "since the first actor step"),
    Metric(SUCCESS_RATE, "rate", "successes among the last 20 training episodes"),
    Metric(SUCCESS_RATE_AUTONOMOUS, "rate", "successes among those of them without a human step; absent if none"),
    Metric(
        EVAL_SUCCESS_RATE,
        "rate",
        "successes of a scheduled evaluation: no person, not trained on, no noise but that of algorithm.stall_steps",
    ),
    Metric(EVAL_CYCLE_STEPS, "steps", "mean length of that evaluation's successful episodes"),
    Metric(EVAL_RETURN, "", "mean undiscounted return of all its episodes"),
    Metric(INTERVENTION_RATE, "rate", "human steps among the steps of the last 20 training episodes"),
    Metric(INTERVENTION_RATE_EPISODES, "rate", "the last 20 training episodes with at least one human step"),
    Metric(EPISODES, "episodes", "training episodes ended"),
    Metric(EPISODE_RETURN, "", "mean undiscounted return of the last 20 training episodes"),
    Metric(EPISODE_LENGTH, "steps", "mean length of the last 20 training episodes"),
    Metric(
        RETURN_TO_GO, "", "discounted return from each step of the last 20 training episodes: what q_mean estimates"
    ),
    Metric(CRITIC_LOSS, "", "mean squared temporal-difference error, of all critics"),
    Metric(ACTOR_LOSS, "", "-Q, and of SAC temperature * log-probability, and the cloning term"),
    Metric(CLONING_LOSS, "", "of human actions: negative log-likelihood (SAC) or squared distance (DrQ-v2)"),
    Metric(CLONING_UPDATES, "updates", "of the cloning before the first policy; only in the status, while it lasts"),
    Metric(CLONING_UPDATES_DUE, "updates", "of the cloning in all; only in the status, while it lasts"),
    Metric(TEMPERATURE, "", "entropy temperature"),
    Metric(ENTROPY, "nat", "of the policy's action distribution"),
    Metric(GRIPPER_LOSS, "", "mean squared temporal-difference error of the gripper critic (gripper=discrete)"),
    Metric(EXPLORATION_STD, "", "standard deviation of exploration noise, in action units (DrQ-v2)"),
    Metric(Q_MEAN, "", "mean Q of the actions sampled from the online view"),
    Metric(UTD_RATIO, "", "critic updates per online environment step since learning started"),
    Metric(UPDATES_PER_S, "1/s", "critic updates, over the time between two log lines"),
    Metric(DROPPED_UPDATES, "updates", "dropped because the deficit a slow learner carries is bounded"),
    Metric(POLICY_LAG_STEPS, "steps", "environment steps since the acting policy version was superseded"),
    Metric(
        PUBLISH_TO_ACTING_MS_P50,
        "ms",
        "median time from a policy version's publication to the arrival of the first step it acted",
    ),
    Metric(PUBLISH_TO_ACTING_MS_P99, "ms", "99th percentile of the same"),
    Metric(REPLAY_SIZE, "transitions", "that can be sampled from the online view"),
    Metric(DEMO_SIZE, "transitions", "that can be sampled from the demonstration view"),
    Metric(DEMO_SHARE, "rate", "demonstration view's real share of the last batch"),
    Metric(HELD_STEPS, "steps", "where safety held the arm; never sampled"),
    Metric(INTERRUPTED_STEPS, "steps", "in flight when a process died; never sampled"),
    Metric(CONTROL_PERIOD_MS_P50, "ms", "median error of the control period"),
    Metric(CONTROL_PERIOD_MS_P99, "ms", "99th percentile of the error of the control period"),
)
BY_NAME = {metric.name: metric for metric in METRICS}
