"""A run's log, ingest, replay, algorithm and trainer in this process, and an arm that sends episodes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from episodes.acting import ActingSettings
from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from episodes.log import EpisodeLog
from episodes.outcome import Outcome, Purpose
from learner.algorithms.sac_config import SACConfig
from learner.assembly import make_trainer
from learner.config import EvaluationConfig, LearnerConfig, StopConfig
from learner.console import Console
from learner.evaluation import EvaluationResult
from learner.evaluator import ask_evaluation
from learner.ingest import Ingest
from learner.publisher import PolicyPublisher
from learner.run_folder import open_run_folder
from learner.startup import prepare
from learner.training import Trainer
from policies.snapshot import load_snapshot
from transport import records_pb2 as pb

STATE = Feature("observation.state", "float32", (3,))
CONTRACT = Contract(
    Interface(
        "tests/training",
        (STATE,),
        Feature("action", "float32", (2,), low=(-1.0,), high=(1.0,)),
        reward=RewardBounds(True, 0.0, 1.0, True),
    ),
    View((FeatureView(STATE.name, stack=2),)),
)
CONFIG = LearnerConfig(
    env="tests",
    env_config=None,
    algorithm=SACConfig(batch_size=16, hidden=(16, 16), clone_updates=5, critic_warmup_updates=4, utd_ratio=2.0),
    acting=ActingSettings(warmup_steps=20, seed=3),
    evaluation=EvaluationConfig(every_env_steps=0),
    publish_every=10,
    checkpoint_every_s=1e9,
    console=False,
    device="cpu",
)


class Run:
    """One process of a run, without its service."""

    def __init__(self, path: Path, config: LearnerConfig = CONFIG, contract: Contract = CONTRACT):
        self.contract = contract
        self.folder = open_run_folder(path, contract, env="tests", resume="auto", replay_bytes=1_000_000, settings={})
        self.log = EpisodeLog(
            self.folder.log,
            run_id=self.folder.run_id,
            interface_fingerprint=contract.interface_fingerprint,
            sync="os",
        )
        self.ingest = Ingest(self.log, contract)
        self.publisher = PolicyPublisher()
        self.trainer = make_trainer(config, self.folder, contract, self.ingest, self.publisher, Console(False))

    def evaluate(self, arm: Arm, *, successes: int, episodes: int, steps: int = 5) -> EvaluationResult:
        """Trains for 20 steps, has the evaluation asked for that is then due, and answers it."""
        arm.episode(20)
        arm.flush()
        ask_evaluation(self.trainer, self.ingest.spools())
        pending = self.trainer.schedule.pending
        assert pending is not None
        for i in range(episodes):
            outcome = Outcome.SUCCESS if i < successes else Outcome.TIMEOUT
            arm.episode(steps, outcome, purpose=Purpose.EVALUATION, evaluation_id=pending.evaluation_id)
        arm.flush()
        return self.trainer.schedule.results[-1]

    def close(self) -> None:
        self.trainer.batches.close()
        self.trainer.writer.close()
        self.trainer.reporter.close(1.0)
        self.ingest.close()
        self.log.close()

    def policy(self):
        published = self.publisher.newer("", 0, 0)
        assert published is not None
        return load_snapshot(published.payload)

    def credit(self, spool_id: str) -> int:
        return self.ingest.progress(spool_id).step_credit


@contextlib.contextmanager
def opened(path: Path, config: LearnerConfig = CONFIG, contract: Contract = CONTRACT) -> Iterator[Run]:
    run = Run(path, config, contract)
    try:
        yield run
    finally:
        run.close()


class Arm:
    """Sends episodes of random numbers, the same for the same seed."""

    def __init__(self, run: Run, spool_id: str = "arm", seed: int = 0):
        self.run, self.spool_id = run, spool_id
        self.sequence = run.ingest.join(spool_id, f"arm-{spool_id}")
        self.rng = np.random.default_rng([seed, self.sequence])
        self.ids = 0

    def episode(
        self,
        steps: int = 10,
        outcome: Outcome = Outcome.SUCCESS,
        human=(),
        purpose: Purpose = Purpose.TRAINING,
        evaluation_id: int = 0,
    ) -> str:
        self.ids += 1
        episode_id = f"{int(self.rng.integers(1 << 60)):032x}"
        start = pb.EpisodeStart(
            episode_id=episode_id, purpose=purpose, observation=self.observation(), evaluation_id=evaluation_id
        )
        bodies = [{"start": start}]
        for i in range(steps):
            last = i == steps - 1
            action = self.rng.uniform(-1, 1, 2)
            step = pb.Step(
                episode_id=episode_id,
                index=i,
                proposed=action,
                chosen=action,
                sent=action,
                observation=self.observation(),
                rewards=[pb.Reward(source="env", value=float(last and outcome is Outcome.SUCCESS))],
                terminated=last and outcome is Outcome.SUCCESS,
                truncated=last and outcome is not Outcome.SUCCESS,
                human=i in human,
            )
            bodies.append({"step": step})
        bodies.append({"end": pb.EpisodeEnd(episode_id=episode_id, outcome=outcome, author="env", steps=steps)})
        records = []
        for body in bodies:
            self.sequence += 1
            records.append(pb.Record(sequence=self.sequence, **body))
        self.run.ingest.accept(self.spool_id, [record.SerializeToString() for record in records])
        return episode_id

    def observation(self) -> list[bytes]:
        return [
            (
                self.rng.integers(0, 256, f.shape, np.uint8)
                if f.is_image
                else self.rng.normal(size=f.shape).astype(np.float32)
            ).tobytes()
            for f in self.run.contract.stored
        ]

    def flush(self) -> None:
        """Until all that was sent is in the log and taken by the trainer."""
        trainer = self.run.trainer
        while self.run.ingest.progress(self.spool_id).sequence < self.sequence or trainer.drain():
            pass


@contextlib.contextmanager
def started(path: Path, config: LearnerConfig = CONFIG, contract: Contract = CONTRACT) -> Iterator[tuple[Run, Arm]]:
    """A run that is prepared, and an arm that has joined it."""
    with opened(path, config, contract) as run:
        prepare(run.trainer, run.log)
        yield run, Arm(run)


def update(trainer: Trainer, count: int) -> None:
    for _ in range(count):
        assert trainer.update(1, 1e9) == 1


def tensors(trainer: Trainer) -> dict[str, torch.Tensor]:
    return trainer.algorithm.state()[0]


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert different == []


AUTONOMOUS = dataclasses.replace(
    CONFIG,
    stop=StopConfig(when_autonomous=True, max_env_steps=60),
    evaluation=EvaluationConfig(every_env_steps=20, episodes=4, success_mark=0.75, in_a_row=2),
    keep_checkpoints=1,
)
