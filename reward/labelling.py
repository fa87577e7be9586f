"""What a person who labels looks at and changes: the episodes of a log, their frames, labels and outcomes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from episodes.contract_file import load_contract
from episodes.layout import ObservationLayout
from episodes.log import read_log
from episodes.outcome import Outcome, Purpose
from reward.config import RewardError
from reward.labels import HARD, LABELS, append_labels, read_labels, spans_of
from reward.preprocessing import cameras_of
from reward.sources import CONTRACT, LOG
from reward.verdicts import LoggedVerdicts
from transport import records_pb2 as pb

PICTURE_HEIGHT = 320
AMENDABLE = {"success": Outcome.SUCCESS, "failure": Outcome.FAILURE, "discarded": Outcome.DISCARDED}


class NotFoundError(RewardError):
    """No such episode or frame."""


@dataclass
class LoggedEpisode:
    """Where the frames of an episode are in the log.

    Attributes:
        offsets: Of the log before each frame.
        scores: Of the classifier at each frame; None where there was none.
        outcome: In the end, as the log says so far; empty while it runs.
        author: Who said so last.
        demonstration: Driven by an operator from first to last step.
    """

    offsets: list[int] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    outcome: str = ""
    author: str = ""
    demonstration: bool = False


class Labelling:
    """The episodes of a folder with a log, read again as far as it has grown. All methods may be called by any thread.

    Args:
        folder: Of recordings or a run.
        amend: Puts an amendment into the log; raises RewardError where it cannot.
    """

    def __init__(self, folder: Path, amend: Callable[[pb.Amendment], None]) -> None:
        if not (folder / LOG).is_dir():
            raise RewardError(f"data={folder} holds no episodes (no {LOG}/). Record some with `tandem record`")
        contract = load_contract(folder / CONTRACT)
        self._cameras = cameras_of(contract)
        self._layout = ObservationLayout(contract.stored)
        self._folder, self._amend = folder, amend
        self._episodes: dict[str, LoggedEpisode] = {}
        self._verdicts = LoggedVerdicts()
        self._offset = 0
        self._lock = threading.RLock()

    def episodes(self) -> dict[str, Any]:
        """Every episode in order, how many frames carry each label, and whether a policy acted in any: a run."""
        with self._lock:
            self._read()
            labels = read_labels(self._folder)
            said = self._verdicts.labels(labels)
            rows = [
                {
                    "id": episode_id,
                    "frames": len(episode.offsets),
                    "outcome": episode.outcome,
                    "author": episode.author.partition(":")[0],
                    "near_miss": episode.outcome == "discarded" and bool({*HARD} & {*said.get(episode_id, [])}),
                    "finished": episode_id in labels and labels[episode_id].finished,
                    "labelled": sum(map(bool, said.get(episode_id, []))),
                    "score": max((s for s in episode.scores if s is not None), default=None),
                }
                for episode_id, episode in self._episodes.items()
            ]
            sums = Counter(label for given in said.values() for label in given)
            return {
                "episodes": rows,
                "counts": {label: sums[label] for label in LABELS},
                "run": not all(episode.demonstration for episode in self._episodes.values()),
                "hard": sum(sums[label] for label in HARD),
                "cameras": [c.name for c in self._cameras],
            }

    def episode(self, episode_id: str) -> dict[str, Any]:
        """Labels and scores of the frames of an episode."""
        with self._lock:
            episode = self._found(episode_id)
            self._read()
            labels = self._verdicts.labels(read_labels(self._folder)).get(episode_id, [])
            labels += [""] * (len(episode.offsets) - len(labels))
            return {"labels": labels, "scores": episode.scores, "outcome": episode.outcome}

    def picture(self, episode_id: str, index: int) -> bytes:
        """All cameras of a frame side by side, as JPEG."""
        with self._lock:
            offsets = self._found(episode_id).offsets
        if not 0 <= index < len(offsets):
            raise NotFoundError(f"the episode has frames 0 to {len(offsets) - 1}. Got: {index}")
        _, entry = next(read_log(self._folder / LOG, offsets[index]))
        record = entry.record
        shown = self._layout.unpack(record.start.observation or record.step.observation)
        return jpeg_of([shown[camera.name] for camera in self._cameras])

    def label(self, episode_id: str, labels: list[str], *, finished: bool) -> None:
        """Replaces the labels of an episode; empty texts for frames without one.

        Raises RewardError for a label that is none, or where there is not one for each frame.
        """
        with self._lock:
            count = len(self._found(episode_id).offsets)
            keep_labels(self._folder, episode_id, labels, count, finished=finished)

    def amend(self, episode_id: str, outcome: str, step: int) -> None:
        """Changes the outcome of an episode: ``success`` at a step, ``failure`` or ``discarded``."""
        if outcome not in AMENDABLE:
            raise RewardError(f"outcome must be one of {', '.join(AMENDABLE)}. Got: {outcome!r}")
        with self._lock:
            self._found(episode_id)
        self._amend(
            pb.Amendment(
                episode_id=episode_id,
                author="person",
                time_ns=time.time_ns(),
                outcome=cast(pb.Outcome, int(AMENDABLE[outcome])),
                step=max(step, 0),
            )
        )

    def _found(self, episode_id: str) -> LoggedEpisode:
        if episode_id not in self._episodes:
            self._read()
        if episode_id not in self._episodes:
            raise NotFoundError(f"no episode {episode_id!r} in {self._folder}")
        return self._episodes[episode_id]

    def _read(self) -> None:
        """Takes what came into the log since the last time."""
        for after, entry in read_log(self._folder / LOG, self._offset):
            record = entry.record
            kind = record.WhichOneof("body")
            self._verdicts.take(record)
            if kind == "start":
                demonstration = record.start.purpose == Purpose.DEMONSTRATION
                self._episodes[record.start.episode_id] = LoggedEpisode(
                    [self._offset], [None], demonstration=demonstration
                )
            elif kind == "step" and record.step.observation and record.step.episode_id in self._episodes:
                episode = self._episodes[record.step.episode_id]
                episode.offsets.append(self._offset)
                episode.scores.append(_score(record.step))
            elif kind == "end" and record.end.episode_id in self._episodes:
                self._outcome(record.end.episode_id, record.end.outcome, record.end.author)
            elif kind == "amendment" and record.amendment.episode_id in self._episodes:
                self._outcome(record.amendment.episode_id, record.amendment.outcome, record.amendment.author)
            self._offset = after

    def _outcome(self, episode_id: str, outcome: int, author: str) -> None:
        episode = self._episodes[episode_id]
        episode.outcome, episode.author = Outcome(outcome).name.lower(), author


def keep_labels(folder: Path, episode_id: str, labels: list[str], count: int, *, finished: bool) -> None:
    """Appends what a person said of the ``count`` frames of an episode; see ``Labelling.label``."""
    if len(labels) != count:
        raise RewardError(f"labels must be {count}, one for each frame. Got: {len(labels)}")
    if wrong := [label for label in labels if label and label not in LABELS]:
        raise RewardError(f"a label must be one of {', '.join(LABELS)}. Got: {wrong[0]!r}")
    append_labels(folder, episode_id, spans_of(labels), "person", finished=finished)


def jpeg_of(images: list[np.ndarray]) -> bytes:
    """Images, uint8 (H, W, 3), side by side and large enough to look at."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(np.hstack(list(map(_enlarged, images))), cv2.COLOR_RGB2BGR))
    assert done
    return data.tobytes()


def _score(step: pb.Step) -> float | None:
    return next((r.value for r in step.rewards if r.source.startswith("score:")), None)


def _enlarged(image: np.ndarray) -> np.ndarray:
    width = round(image.shape[1] * PICTURE_HEIGHT / image.shape[0])
    smaller = image.shape[0] > PICTURE_HEIGHT
    return cv2.resize(image, (width, PICTURE_HEIGHT), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
