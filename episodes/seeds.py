"""Start seeds: which start state an episode has, without any two purposes or actors sharing one."""

from __future__ import annotations

import hashlib
from enum import IntEnum

import numpy as np


class SeedStream(IntEnum):
    """What a start state is used for. What picks a checkpoint never sees the starts of the final figure."""

    TRAINING = 0
    SELECTION = 1
    FINAL = 2
    DEMONSTRATION = 3


def start_seed(seed: int, stream: SeedStream, actor: str, index: int) -> int:
    """Seed of the ``index``-th start state of a stream, in [0, 2**63).

    Args:
        seed: Seed of the run.
        stream: What the start state is used for.
        actor: Name of the actor, so that two actors of a run see different starts.
        index: Number of the episode in its stream, from 0.
    """
    name = int.from_bytes(hashlib.sha256(actor.encode()).digest()[:8], "little")
    words = np.random.SeedSequence([seed, int(stream), name, index]).generate_state(1, np.uint64)
    return int(words[0]) >> 1
