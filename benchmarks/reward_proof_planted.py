"""A classifier that can be exploited as the only reward of a training, and what a person's corrections make of it.

    python -m benchmarks.reward_proof_planted --seed 1

Its labels are those of a person in a hurry: what success looks like, and the first frames of the same episodes as what
does not; no hard negatives, and no gate. While the policy trains, the scripted person says of each
success of the classifier that was none by the simulator's that it was wrong: an amendment through the service, as
`tandem label` sends it. After every RETRAIN_AFTER of them `tandem reward train` runs again with the run's own log as
data, and the actor swaps the new classifier in. The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from benchmarks.reward_proof import SUCCESSES
from benchmarks.reward_proof_document import RESULTS
from benchmarks.reward_proof_training import tandem
from cli.children import Child, stop_all
from cli.label import Amender
from episodes.durable import write_durably
from episodes.log import read_log
from episodes.outcome import Outcome, Purpose
from reward.config import RewardError
from reward.labels import FAILURE, SUCCESS, Span, append_labels, read_labels
from reward.storage import FILE
from transport import records_pb2 as pb

RETRAIN_AFTER = 10
STEPS = 2500
FIRST_FRAMES = 5
_QUICK = ("folds=2", "max_steps=150")
_POLL_S = 2.0
_STOPS_S = 15.0


@dataclass
class Version:
    """What one version of the classifier said of training episodes.

    Attributes:
        successes: That it confirmed; ``wrong`` of them were none.
    """

    successes: int = 0
    wrong: int = 0


class Onlooker:
    """The scripted person who watches training episodes of a run and corrects what was no success.

    Args:
        run: Run folder.

    Attributes:
        versions: By the classifier's version, in the order in which they judged.
        corrections: In the log so far.
    """

    def __init__(self, run: Path) -> None:
        self._log, self._amender, self._offset = run / "log", Amender(run), 0
        self.versions: dict[str, Version] = {}
        self.corrections = 0
        self._true: dict[str, bool] = {}
        self._by: dict[str, Version] = {}
        self._open: list[str] = []

    def look(self) -> None:
        """Takes what came into the log since the last time, and corrects it."""
        if not self._log.is_dir():
            return
        for after, entry in read_log(self._log, self._offset):
            self._offset = after
            record = entry.record
            kind = record.WhichOneof("body")
            if kind == "start" and record.start.purpose == Purpose.TRAINING:
                self._true[record.start.episode_id] = False
            elif kind == "step" and record.step.episode_id in self._true:
                self._step(record.step)
            elif kind == "end" and record.end.episode_id in self._true:
                self._end(record.end)
            elif kind == "amendment":
                self.corrections += 1
                with contextlib.suppress(ValueError):
                    self._open.remove(record.amendment.episode_id)

    def _step(self, step: pb.Step) -> None:
        for reward in step.rewards:
            source, _, version = reward.source.partition(":")
            if source == "env":
                self._true[step.episode_id] |= reward.value > 0.5
            elif source == "score":
                self._by[step.episode_id] = self.versions.setdefault(version, Version())

    def _end(self, end: pb.EpisodeEnd) -> None:
        if end.outcome == Outcome.SUCCESS and end.author.startswith("classifier"):
            wrong = not self._true[end.episode_id]
            self._by[end.episode_id].successes += 1
            self._by[end.episode_id].wrong += wrong
            if wrong:
                self._open.append(end.episode_id)

    def correct(self) -> None:
        """Says of what was wrong, and is not corrected yet, that it was."""
        while self._open:
            amendment = pb.Amendment(
                episode_id=self._open[0],
                author="person",
                time_ns=time.time_ns(),
                outcome=cast(pb.Outcome, int(Outcome.FAILURE)),
            )
            try:
                self._amender.amend(amendment)
            except RewardError as error:
                print(f"  {error}; again in {_POLL_S:g} s", flush=True)
                return
            del self._open[0]


def label_in_a_hurry(folder: Path) -> None:
    """Leaves of the labels of recordings those of success, and of the first FIRST_FRAMES frames of each episode."""
    for episode, labels in read_labels(folder).items():
        success = [span for span in labels.spans if span.label == SUCCESS]
        append_labels(folder, episode, [Span(0, FIRST_FRAMES - 1, FAILURE), *success], "operator")


def train(seed: int, out: Path) -> None:
    """Trains a policy with the planted classifier as its only reward, and a person who corrects it."""
    labels, planted, run = out / "labels", out / "planted", out / "run"
    out.mkdir(parents=True, exist_ok=True)
    if not (planted / FILE).is_file():
        tandem("record", "env.obs=pixels", "reward=human", f"seed={seed}", f"out={labels}", f"episodes={SUCCESSES}")
        label_in_a_hurry(labels)
        tandem("reward", "train", f"data={labels}", f"out={planted}", f"seed={seed}", "name=planted", *_QUICK)
    if not (run / "demonstrations").is_dir():
        tandem("record", "env.obs=pixels", f"seed={seed}", f"out={run / 'demonstrations'}", "episodes=20")
    settings = ("obs=pixels", f"seed={seed}", "film=false", "tracker=none", "stop.when_autonomous=false")
    caps = (f"stop.max_env_steps={STEPS}", "stop.max_time_s=0", "evaluation.every_env_steps=1000")
    demo = Child(
        "demo",
        ["demo", *settings, *caps, f"run={run}", "reward=classifier", f"reward.model={planted}"],
        out / "demo.txt",
    )
    onlooker = Onlooker(run)
    trained_with, trainer = 0, None
    try:
        while demo.wait(_POLL_S) is None:
            onlooker.look()
            onlooker.correct()
            if trainer is not None and trainer.poll() is not None:
                print(f"  the classifier is trained again, exit code {trainer.returncode}", flush=True)
                trainer = None
            if trainer is None and onlooker.corrections - trained_with >= RETRAIN_AFTER:
                trained_with = onlooker.corrections
                print(f"  {trained_with} corrections: training the classifier again ...", flush=True)
                trainer = _train_again(labels, run, seed)
    finally:
        stop_all([demo], grace_s=_STOPS_S)
        if trainer is not None:
            trainer.terminate()
            trainer.wait()
    if not (run / "summary.json").is_file():
        raise SystemExit(f"the training did not end: see {out / 'demo.txt'}")


def found(seed: int, run: Path) -> dict[str, Any]:
    """What came of it, by version of the classifier."""
    onlooker, said = Onlooker(run), (run / "actor.log").read_text()
    onlooker.look()
    summary = json.loads((run / "summary.json").read_text())
    return {
        "seed": seed,
        "retrain_after": RETRAIN_AFTER,
        "corrections": onlooker.corrections,
        "versions": [
            {"version": name, **vars(version), "drift": f"the scores of classifier {name} are no longer" in said}
            for name, version in onlooker.versions.items()
        ],
        "successes": summary["successes"],
        "episodes": summary["episodes"],
        "success": summary["success_rate"],
        "env_steps": summary["env_steps"],
    }


def _train_again(labels: Path, run: Path, seed: int) -> subprocess.Popen:
    settings = (f"data=[{labels},{run}]", f"out={run / 'reward'}", f"seed={seed}", "name=corrected")
    with open(run / "reward-train.txt", "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "cli.main", "reward", "train", *settings, *_QUICK],
            stdout=output,
            stderr=output,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="runs/reward-proof/planted-SEED")
    arguments = parser.parse_args()
    out = arguments.out or RESULTS / f"planted-{arguments.seed}"
    if not (out / "run" / "summary.json").is_file():
        train(arguments.seed, out)
    result = found(arguments.seed, out / "run")
    write_durably(out / "result.json", (json.dumps(result) + "\n").encode())
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
