"""The update loop: what the log says goes into replay, the ratio says how many updates are due, versions go out::

while not ended:
    take what the actors sent; begin learning when the warm-up is over
    update as often as the ratio allows; publish every so many updates
    ask for evaluations; tell lockstep actors how far they may go
    report; checkpoint
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from learner.checkpoint import Checkpoint, CheckpointWriter
from learner.config import LearnerConfig
from learner.console import Console
from learner.divergence import NOT_FINITE, lower_rates, odd_tensors
from learner.episode_metrics import EpisodeMetrics, EpisodeRecord
from learner.evaluation import EvaluationSchedule
from learner.evaluator import ask_evaluation, is_present, take_result
from learner.ingest import Ingest, SpoolStatus
from learner.limiter import UNLIMITED, UpdateLimiter, share_credit
from learner.prefetch import batch_source
from learner.progress import Progress
from learner.publisher import PolicyPublisher
from learner.replay import ReplayBuffer
from learner.reporting import Reporter, UpdateMeans
from learner.resume import take_checkpoint
from learner.run_folder import RunFolder
from learner.stop_rule import Ending, StopRule
from learner.versions import PolicyVersions
from transport import records_pb2 as pb

if TYPE_CHECKING:
    from learner.algorithms import Algorithm

CHUNK_UPDATES = 20
CHUNK_S = 0.05
IDLE_S = 0.1
DRAIN_ENTRIES = 4096

WAITING, CLONING, COLLECTING, TRAINING, FINISHED = "waiting", "cloning", "collecting", "training", "finished"


class Trainer:
    """The state of a run and the loop that moves it on. Everything is called from one thread but ``stop``.

    Attributes:
        phase: ``waiting``, ``cloning``, ``collecting``, ``training`` or ``finished``.
        algorithm, replay, publisher, ingest, reporter, console: Its parts.
        batches: Of the updates.
        means: Of what updates return.
        writer: Writes checkpoints.
        last_checkpoint: Name of the newest; empty before the first.
        save_next: A checkpoint is due as soon as the offset of the log fits.
        prepared: Its start is over: replay is there, and the policy to start from was cloned, given or restored.
        elapsed_before_s: Time that earlier processes of the run trained [s].
        metrics: What the log says.
        limiter: The update-to-data ratio.
        schedule: Evaluations.
        stop_rule: When training ends by itself, and what is still open of that.
        versions: Numbers and publishes the acting policy.
        log_offset: Offset of the log after the last entry applied.
        cloning: How far the cloning is, by names of ``metrics.names``; empty but while it lasts.
        first_update_s: Unix time of this process's first update or cloning update; None before.
        diverged: Why training is no longer to be trusted: NaN or infinity; empty while all is well. Nothing is then
            published or saved any more.
        stop: Set to True, by a signal, to end the loop.
    """

    def __init__(
        self,
        config: LearnerConfig,
        folder: RunFolder,
        *,
        ingest: Ingest,
        publisher: PolicyPublisher,
        algorithm: Algorithm,
        replay: ReplayBuffer,
        reporter: Reporter,
        console: Console,
    ):
        self.config = config
        self.folder = folder
        self.ingest = ingest
        self.publisher = publisher
        self.algorithm = algorithm
        self.replay = replay
        self.batches = batch_source(config, algorithm, replay)
        self.reporter = reporter
        self.console = console
        self.phase = WAITING
        self.metrics = EpisodeMetrics(config.algorithm.gamma)
        self.limiter = UpdateLimiter(
            config.algorithm.utd_ratio,
            max_ahead=config.max_ahead,
            max_deficit_updates=config.max_deficit_updates,
            warmup_steps=config.acting.warmup_steps,
        )
        self.schedule = EvaluationSchedule(config.evaluation, config.acting.seed)
        self.stop_rule = StopRule(config)
        self.versions = PolicyVersions(folder, publisher)
        self.writer = CheckpointWriter(folder.checkpoints, config.keep_checkpoints, lambda: self.schedule.candidates)
        self.log_offset = 0
        self.cloning: dict[str, float] = {}
        self.first_update_s: float | None = None
        self.diverged = ""
        self.stop = False
        self.means = UpdateMeans()
        self.progress = Progress()
        self.elapsed_before_s = 0.0
        self._first_step_s: float | None = None
        self.last_checkpoint = ""
        self._saved_at = (-1, -1)
        self._checkpoint_s = time.monotonic()
        self.save_next = False
        self.prepared = False

    # The state of the run.

    @property
    def elapsed_s(self) -> float:
        """Since the first actor step, without the time in which no learner ran."""
        running = time.monotonic() - self._first_step_s if self._first_step_s is not None else 0.0
        return self.elapsed_before_s + running

    @property
    def version(self) -> int:
        """Newest policy version published; -1 before the first."""
        return self.versions.newest

    def apply(self, entry: pb.LogEntry) -> EpisodeRecord | None:
        """Takes an entry into replay and metrics, as also a rebuild does. Returns the episode it ended or amended."""
        self.replay.apply(entry)
        return self.metrics.apply(entry)

    def take(self, entry: pb.LogEntry) -> None:
        """Takes a new entry of the log: as ``apply``, and its steps earn updates."""
        before = self.metrics.env_steps
        ended = self.apply(entry)
        new = self.metrics.env_steps - before
        self.limiter.add_steps(new)
        result = self.schedule.apply(entry, ended, time.monotonic())
        if result is not None:
            take_result(self, result)

    @property
    def fault(self) -> str:
        """The gravest of what is wrong while the run goes on: something is not on the disk, not with the actors, or
        not with the tracker; empty while all is well.
        """
        return (
            self.diverged
            or self.ingest.fault
            or self.writer.fault
            or self.versions.fault
            or self.reporter.fault
            or self.reporter.tracker_fault
        )

    def diverge(self, found: str) -> None:
        """Notes, once, that the losses are not finite, and in which tensors."""
        if self.diverged:
            return
        tensors, images = odd_tensors(self.algorithm), bool(self.algorithm.spec.images)
        self.diverged = (
            f"{NOT_FINITE} since update {self.progress.finite_updates + 1} "
            f"({found}{tensors and f'; {tensors}'}): nothing is updated, no policy is published and no checkpoint "
            f"written any more. The newest good checkpoint is {self.last_checkpoint or 'none'}. To go on from there "
            f"with lower learning rates: {lower_rates(self.folder.path, self.config.algorithm, images=images)}"
        )
        self.console.event(self.diverged)

    def save(self) -> Checkpoint | None:
        """Takes a checkpoint and hands it to the writer. None, and nothing is taken, where training has diverged."""
        from policies.snapshot import NotFiniteError

        self._saved_at = (self.metrics.env_steps, self.algorithm.updates)
        self._checkpoint_s = time.monotonic()
        self.save_next = False
        if self.diverged:
            return None
        try:
            checkpoint = take_checkpoint(self)
        except NotFiniteError as error:
            self.diverge(str(error))
            return None
        self.writer.submit(checkpoint)
        self.last_checkpoint = checkpoint.name
        return checkpoint

    @property
    def saves_last(self) -> bool:
        """Whether its end writes a last checkpoint."""
        return self.prepared and not self.diverged

    @property
    def moved(self) -> bool:
        """Whether there is anything that the last checkpoint lacks. Nothing until the run is prepared: a start that is
        interrupted has only half of what it is made from."""
        return self.prepared and (self.save_next or (self.metrics.env_steps, self.algorithm.updates) != self._saved_at)

    def publish(self) -> int:
        """Publishes the acting policy as the next version. Returns the newest version published."""
        return self.versions.publish(self)

    # The loop.

    def run(self) -> Ending:
        """Runs until the policy succeeds on its own, a cap is reached, or ``stop`` is set."""
        self.phase = WAITING
        while True:
            if self.stop:
                return Ending("stopped by the user", "interrupted", 130)
            entries = self.drain()
            self.begin_learning()
            if self.save_next:
                self.save()
            if self.versions.due_again:
                self.publish()
            updates = self.update()
            spools = self.ingest.spools()
            ask_evaluation(self, spools)
            self.give_credit(spools)
            self.progress.report(self)
            late = time.monotonic() - self._checkpoint_s > self.config.checkpoint_every_s
            if late and self.moved and not self.writer.busy:
                self.save()
            ending = self.stop_rule.check(self)
            if ending is not None:
                return ending
            if not entries and not updates:
                self.ingest.wait(IDLE_S)

    def drain(self) -> int:
        """Takes what came into the log, and returns how many entries that were."""
        entries = self.ingest.drain(DRAIN_ENTRIES)
        if not entries:
            return 0
        before = self.metrics.env_steps
        for entry in entries:
            self.take(entry)
            if self.limiter.warm and not self.limiter.started:
                # At the very step, so that the ratio counts from there however fast the machine is.
                self.begin_learning()
        self.log_offset = self.ingest.drained_offset
        if self._first_step_s is None and self.metrics.env_steps > before:
            self._first_step_s = time.monotonic()
            self.phase = TRAINING if self.limiter.started else COLLECTING
        return len(entries)

    def begin_learning(self) -> None:
        """Freezes the statistics and starts counting, once the steps of the warm-up are there."""
        sampleable = self.replay.online_size + self.replay.demonstration_size
        if self.limiter.started or not self.limiter.warm or not sampleable:
            return
        if not self.algorithm.statistics_frozen:
            self.algorithm.freeze_statistics(self.replay.statistics())
        self.limiter.start()
        if self.phase == COLLECTING:
            self.phase = TRAINING
        # Saved by the loop: in the middle of a drain the offset of the log would not fit.
        self.save_next = True
        version = self.publish()
        self.console.event(
            f"learning starts after {self.metrics.env_steps} environment steps, with policy version {version}"
            if self.config.learning
            else f"{self.metrics.env_steps} environment steps of warm-up are over; learning=false: nothing is updated"
        )

    def update(self, most: int = CHUNK_UPDATES, most_s: float = CHUNK_S) -> int:
        """Makes the updates that are due, at most so many and for so long, and returns how many it made."""
        if self.diverged or not self.config.learning or not self.replay.online_size + self.replay.demonstration_size:
            return 0
        due = min(self.limiter.due(), most)
        deadline = time.perf_counter() + most_s
        for done in range(due):
            if done and time.perf_counter() > deadline:
                return done
            self.means.add(self.algorithm.update(self.batches.next()))
            self.limiter.add_updates()
            if self.algorithm.updates - self.versions.published_at >= self.config.publish_every:
                self.publish()
            if self.first_update_s is None:
                self.first_update_s = time.time()
        return due

    def give_credit(self, spools: list[SpoolStatus]) -> None:
        """Tells lockstep actors how many steps they may make."""
        allowed = self.limiter.steps_allowed if self.config.learning else UNLIMITED
        present = [s.spool_id for s in spools if is_present(s)]
        # What is in the log and not drained yet counts too, or an actor that runs ahead would be given it twice.
        steps = self.metrics.steps_by_spool | {s.spool_id: s.training_steps for s in spools}
        self.ingest.set_credit(share_credit(allowed, steps, present))
