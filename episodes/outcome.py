"""What became of an episode, why it was recorded, and why a step was held: names of the wire's numbers."""

from __future__ import annotations

from enum import IntEnum


class Purpose(IntEnum):
    """Numbers of ``tandem.v1.Purpose``."""

    TRAINING = 1
    EVALUATION = 2
    DEMONSTRATION = 3


class Outcome(IntEnum):
    """Numbers of ``tandem.v1.Outcome``."""

    SUCCESS = 1
    FAILURE = 2
    TIMEOUT = 3
    DISCARDED = 4
    CUT = 5


class Held(IntEnum):
    """Numbers of ``tandem.v1.HeldReason``."""

    NO = 0
    NAN_OBSERVATION = 1
    NAN_ACTION = 2
    STALE_OBSERVATION = 3
    LOST_DEVICE = 4
    NO_POLICY = 5
    WATCHDOG = 6
    LOST_CAMERA = 7
