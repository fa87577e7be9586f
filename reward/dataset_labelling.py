"""What a person who labels a LeRobotDataset looks at and changes: its frames and their labels, and no outcomes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from reward.config import RewardError
from reward.labelling import NotFoundError, jpeg_of, keep_labels
from reward.labels import HARD, LABELS, SUCCESS, read_labels
from reward.lerobot_folder import DatasetFolder


class DatasetLabelling:
    """The episodes of a local LeRobotDataset, by number. Labels are kept in ``labels.jsonl`` beside it, and go above
    its rewards; the dataset itself stays as it is. All methods may be called by any thread.

    Args:
        folder: Of the dataset. Raises RewardError where it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._dataset = DatasetFolder(folder)
        self._lock = threading.RLock()

    def episodes(self) -> dict[str, Any]:
        """As ``Labelling.episodes``; the outcome of an episode is whether any frame of it is a success."""
        with self._lock:
            given, every = read_labels(self._dataset.folder), self._dataset.labels()
        rows = [
            {
                "id": str(number),
                "frames": len(labels),
                "outcome": "success" if SUCCESS in labels else "failure" if any(labels) else "no labels",
                "author": "",
                "near_miss": False,
                "finished": str(number) in given and given[str(number)].finished,
                "labelled": sum(map(bool, labels)),
                "score": None,
            }
            for number, labels in enumerate(every)
        ]
        sums = {label: sum(labels.count(label) for labels in every) for label in LABELS}
        return {
            "episodes": rows,
            "counts": sums,
            "run": False,
            "hard": sum(sums[label] for label in HARD),
            "cameras": [camera.name for camera in self._dataset.cameras],
        }

    def episode(self, episode_id: str) -> dict[str, Any]:
        """Labels of the frames of an episode; nothing scored them."""
        with self._lock:
            labels = self._dataset.labels()[self._number(episode_id)]
        return {"labels": labels, "scores": [None] * len(labels), "outcome": ""}

    def picture(self, episode_id: str, index: int) -> bytes:
        """All cameras of a frame side by side, as JPEG."""
        number = self._number(episode_id)
        if not 0 <= index < (size := self._dataset.sizes[number]):
            raise NotFoundError(f"the episode has frames 0 to {size - 1}. Got: {index}")
        with self._lock:
            return jpeg_of(list(self._dataset.images(number, index).values()))

    def label(self, episode_id: str, labels: list[str], *, finished: bool) -> None:
        """Replaces the labels of an episode, as ``Labelling.label``."""
        size = self._dataset.sizes[self._number(episode_id)]
        with self._lock:
            keep_labels(self._dataset.folder, episode_id, labels, size, finished=finished)

    def amend(self, episode_id: str, outcome: str, step: int) -> None:
        """Raises RewardError: a dataset has no outcomes."""
        raise RewardError("a LeRobotDataset keeps no outcomes of ours. Label the frames instead: 1 to 6, 0 for none")

    def _number(self, episode_id: str) -> int:
        sizes = self._dataset.sizes
        if not (episode_id.isdecimal() and int(episode_id) < len(sizes)):
            raise NotFoundError(f"{self._dataset.folder} has episodes 0 to {len(sizes) - 1}. Got: {episode_id!r}")
        return int(episode_id)
