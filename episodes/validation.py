"""Whether a record received is one that the log and replay can take."""

from __future__ import annotations

import re

from episodes.contract import RewardBounds
from episodes.layout import MAX_MAGNITUDE, LayoutError, ObservationLayout
from episodes.spool_position import RecordError
from transport import records_pb2 as pb

__all__ = ["RecordError", "check_amendment", "check_identifier", "check_record", "reward_range"]

MAX_TEXT = 1024
MAX_REWARDS = 16
MAX_COUNT = 2**53
"""Above every evaluation id and policy version: both count, and doubles hold them exactly."""
MAX_ACTION = 1 + 1e-6
UNBOUNDED = (-MAX_MAGNITUDE, MAX_MAGNITUDE)
HELD_REASONS = frozenset(pb.HeldReason.values())
OUTCOMES = frozenset(pb.Outcome.values()) - {pb.OUTCOME_UNSPECIFIED}
AMENDABLE = (pb.OUTCOME_SUCCESS, pb.OUTCOME_FAILURE, pb.OUTCOME_DISCARDED)

_EPISODE_ID = re.compile(r"[0-9a-f]{32}").fullmatch
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:\-]{0,127}").fullmatch


def check_record(
    record: pb.Record, layout: ObservationLayout, action_size: int, rewards: tuple[float, float] = UNBOUNDED
) -> None:
    """Raises RecordError naming the field, the expected and the actual value.

    Observations may hold NaN where the step is held; actions may be anything where it is held or interrupted, and
    ``proposed`` NaN wherever nothing was proposed. Continuity within a spool is ``SpoolPosition.advance``'s.

    Args:
        record: As received.
        layout: Of the contract's observations.
        action_size: Components of its action.
        rewards: Least and greatest reward (``reward_range``).
    """
    kind = record.WhichOneof("body")
    if kind == "step":
        _check_step(record.step, layout, action_size, rewards)
    elif kind == "start":
        _check_start(record.start, layout)
    elif kind == "end":
        _check_end(record.end)
    elif kind == "amendment":
        check_amendment(record.amendment)
    else:
        raise RecordError("record.body must be start, step, end or amendment. Got: none of them")


def check_amendment(amendment: pb.Amendment) -> None:
    """Raises RecordError unless ``amendment`` names an episode, an author and success, failure or discarded."""
    _check_episode_id("amendment", amendment.episode_id)
    _check_text("amendment.author", amendment.author)
    if amendment.outcome not in AMENDABLE:
        raise RecordError(f"amendment.outcome must be SUCCESS, FAILURE or DISCARDED. Got: {amendment.outcome}")


def reward_range(bounds: RewardBounds) -> tuple[float, float]:
    """Least and greatest reward of one source: within the contract's bounds, 0 (nothing) and 1 (a person's success).

    Bounds are widened by what float32 rounds off.
    """
    if not bounds.bounded:
        return UNBOUNDED
    low, high = min(bounds.low, 0.0), max(bounds.high, 1.0)
    return low * (1 + 1e-6), high * (1 + 1e-6)


def check_identifier(name: str, value: str) -> None:
    """Raises RecordError unless ``value`` is 1 to 128 letters, digits, and ``_ . : -``, a letter or digit first."""
    if not _IDENTIFIER(value):
        raise RecordError(
            f"{name} must be 1 to 128 of A-Z a-z 0-9 _ . : - (a letter or digit first). Got: {value[:160]!r}"
        )


def _check_step(step: pb.Step, layout: ObservationLayout, action_size: int, rewards: tuple[float, float]) -> None:
    if step.policy_version >= MAX_COUNT:
        raise RecordError(f"step.policy_version must be below 2**53. Got: {step.policy_version}")
    if len(step.chosen) != action_size or len(step.proposed) != action_size or len(step.sent) != action_size:
        for name in ("proposed", "chosen", "sent"):
            if (size := len(getattr(step, name))) != action_size:
                raise RecordError(f"step.{name} must have {action_size} numbers. Got: {size}")
    if step.interrupted:
        if step.observation:
            raise RecordError(f"step.observation must be empty when interrupted. Got: {len(step.observation)} items")
        return
    try:
        layout.check(step.observation)
        layout.check_numbers(step.observation, nan=bool(step.held))
    except LayoutError as error:
        raise RecordError(f"step.{error}") from None
    if not step.held:
        for name, action in (("chosen", step.chosen), ("sent", step.sent)):
            if [value for value in action if not -MAX_ACTION <= value <= MAX_ACTION]:
                raise RecordError(f"step.{name} must be from -1 to 1 where the step is not held. Got: {list(action)}")
        if [value for value in step.proposed if value < -MAX_ACTION or value > MAX_ACTION]:
            raise RecordError(f"step.proposed must be from -1 to 1, or NaN for nothing. Got: {list(step.proposed)}")
    if step.terminated and step.truncated:
        raise RecordError("step must be terminated or truncated. Got: both")
    if step.held not in HELD_REASONS:
        raise RecordError(f"step.held must be a HeldReason. Got: {step.held}")
    if len(step.rewards) > MAX_REWARDS:
        raise RecordError(f"step.rewards must have at most {MAX_REWARDS} items. Got: {len(step.rewards)}")
    for reward in step.rewards:
        _check_text("step.rewards.source", reward.source)
        if not rewards[0] <= reward.value <= rewards[1]:
            low, high = rewards
            raise RecordError(f"step.rewards[{reward.source!r}] must be from {low:g} to {high:g}. Got: {reward.value}")


def _check_start(start: pb.EpisodeStart, layout: ObservationLayout) -> None:
    _check_episode_id("start", start.episode_id)
    if start.purpose not in (pb.PURPOSE_TRAINING, pb.PURPOSE_EVALUATION, pb.PURPOSE_DEMONSTRATION):
        raise RecordError(f"start.purpose must be TRAINING, EVALUATION or DEMONSTRATION. Got: {start.purpose}")
    for name, value in (("evaluation_id", start.evaluation_id), ("policy_version", start.policy_version)):
        if value >= MAX_COUNT:
            raise RecordError(f"start.{name} must be below 2**53. Got: {value}")
    try:
        layout.check(start.observation)
        layout.check_numbers(start.observation, nan=False)
    except LayoutError as error:
        raise RecordError(f"start.{error}") from None


def _check_end(end: pb.EpisodeEnd) -> None:
    _check_episode_id("end", end.episode_id)
    if end.outcome not in OUTCOMES:
        raise RecordError(f"end.outcome must be SUCCESS, FAILURE, TIMEOUT, DISCARDED or CUT. Got: {end.outcome}")
    _check_text("end.author", end.author)
    _check_text("end.label", end.label)


def _check_episode_id(kind: str, episode_id: str) -> None:
    if not _EPISODE_ID(episode_id):
        raise RecordError(f"{kind}.episode_id must be 32 hexadecimal digits. Got: {episode_id[:64]!r}")


def _check_text(name: str, text: str) -> None:
    if len(text) > MAX_TEXT:
        raise RecordError(f"{name} must have at most {MAX_TEXT} characters. Got: {len(text)}")
