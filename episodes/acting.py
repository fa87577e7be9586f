"""How the actors of a run act: set at the learner, told to every actor when it joins."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ActingSettings:
    """Settings a learner tells its actors.

    Attributes:
        pacing: ``lockstep`` runs as fast as the machine can and holds for the learner; ``realtime`` keeps the control
            rate and never waits; ``auto`` is lockstep in simulation and realtime on hardware.
        warmup: Who acts until learning starts: ``policy`` (version 0), ``uniform`` random actions, or ``operator``.
        seed: Seed of the run; start states, exploration and the scripted operator derive theirs from it.
        warmup_steps: Environment steps, over all actors, before learning starts.
        exploration_share: Share of training episodes in which the policy explores; in the others it acts as when it is
            evaluated. Where it stalls without noise the person then helps, and what is learned from is what is judged.

    Raises ValueError for a share that is none.
    """

    pacing: str = "auto"
    warmup: str = "policy"
    seed: int = 0
    warmup_steps: int = 100
    exploration_share: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.exploration_share <= 1.0:
            raise ValueError(f"exploration_share must be from 0 to 1. Got: {self.exploration_share}")
