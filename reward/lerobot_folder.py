"""A local LeRobotDataset as labelled frames: by ``next.reward``, and above it by what `tandem label` was told."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from episodes.contract import IMAGE_PREFIX
from episodes.lerobot_dataset import FINAL_FILE, REWARD, SIDE_FOLDER
from episodes.lerobot_reading import DatasetError, open_dataset, read_frame
from reward.config import CONFIRM, RewardError
from reward.frames import LabelledFrames, counted, stacked
from reward.labels import FAILURE, SUCCESS, label_place, read_labels
from reward.preprocessing import CameraFrames, chosen_cameras

_SUCCESS_FROM = 0.5
_UNSURE_S = 1.0
"""A success shorter than this says when an episode ended, and not since when it looked like success."""


class DatasetFolder:
    """The episodes of a local LeRobotDataset. Frame i of an episode is its i-th row; an export of ours has one more,
    the observation after the last step, and the reward of a step is that of the frame after it.

    Attributes:
        folder: Of the dataset.
        cameras: All of its cameras.
        sizes: Frames of each episode.
        near: Frames in ``_UNSURE_S``.

    Raises RewardError where it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._dataset = open_dataset(folder)
        except DatasetError as error:
            raise RewardError(str(error)) from error
        self.folder = folder
        features = self._dataset.features
        shapes = {name: f["shape"] for name, f in features.items() if name.startswith(IMAGE_PREFIX)}
        self.cameras = tuple(CameraFrames(name, *_height_width(shape)) for name, shape in shapes.items())
        rows = self._dataset.meta.episodes
        self._first = [int(rows[n]["dataset_from_index"]) for n in range(self._dataset.num_episodes)]
        self._steps = [int(rows[n]["dataset_to_index"]) - first for n, first in enumerate(self._first)]
        finals = folder / SIDE_FOLDER / FINAL_FILE
        self._final: Any = np.load(finals, allow_pickle=False) if finals.is_file() else {}
        self.sizes = [steps + (1 if self._final else 0) for steps in self._steps]
        self.near = max(1, round(_UNSURE_S * self._dataset.fps))
        self.rewarded = REWARD in features
        column = self._dataset.hf_dataset.data.column(REWARD).to_numpy() if self.rewarded else np.zeros(0)
        self._rewards = np.asarray(column, float)

    def rewards(self, number: int) -> np.ndarray:
        """The reward of every frame of an episode; empty where the dataset has none."""
        rewards = self._rewards[self._first[number] :][: self._steps[number]]
        return np.concatenate(([0.0], rewards)) if self.rewarded and self._final else rewards

    def labels(self) -> list[list[str]]:
        """The label of every frame of every episode, empty for none."""
        given = read_labels(self.folder)
        return [
            given[str(number)].of_frames(size)
            if str(number) in given
            else labels_of_rewards(self.rewards(number), self.near)
            if self.rewarded
            else [""] * size
            for number, size in enumerate(self.sizes)
        ]

    def images(self, number: int, index: int) -> dict[str, np.ndarray]:
        """A frame of every camera, uint8 (H, W, 3). Raises RewardError where it cannot be decoded."""
        if index == self._steps[number]:
            return {camera.name: self._final[f"{number}/{camera.name}"] for camera in self.cameras}
        try:
            frame = read_frame(self._dataset, number, self._first[number] + index)
        except DatasetError as error:
            raise RewardError(str(error)) from error
        return {camera.name: _uint8(frame[camera.name]) for camera in self.cameras}


def frames_of_dataset(folder: Path, cameras: Sequence[str], say: Callable[[str], None]) -> LabelledFrames:
    """The labelled frames of a LeRobotDataset; ``say`` is told what was taken, and what to do where that is little.

    Raises RewardError where there is neither ``next.reward`` nor a label.
    """
    dataset, given = DatasetFolder(folder), read_labels(folder)
    label_it = shlex.join(("tandem", "label", f"data={folder}"))
    if not dataset.rewarded and not given:
        raise RewardError(f"{folder} lacks {REWARD!r}, which says where success is. Label its frames: {label_it}")
    found, every = chosen_cameras(dataset.cameras, cameras), dataset.labels()
    kept = [(label, str(n), i) for n, labels in enumerate(every) for i, label in enumerate(labels) if label]
    images: dict[str, list[np.ndarray]] = {camera.name: [] for camera in found}
    for _, episode, index in kept:
        shown = dataset.images(int(episode), index)
        for name, values in images.items():
            values.append(shown[name])
    places = tuple(label_place(folder, episode, index) for _, episode, index in kept)
    frames = stacked(found, images, [(label, f"{folder.resolve()}/{e}", i) for label, e, i in kept], places)
    said = f"{folder}: {counted(frames)}"
    if without := sum(labels.count("") for labels in every):
        said += f", and {without} frames without a label"
    if brief := [n for n, labels in enumerate(every) if "" in labels and str(n) not in given]:
        longest = max((after - a for labels in every for a, after in _runs(np.array(labels) == SUCCESS)), default=0)
        short = f" No success lasts for confirm={CONFIRM} frames: train with confirm=1." if longest < CONFIRM else ""
        said += (
            f". In {len(brief)} episodes {REWARD} says success for less than {_UNSURE_S:g} s, and frames so near to it "
            f"may look like it: they have no label.{short} Label what looks like success: {label_it}"
        )
    say(said)
    return frames


def labels_of_rewards(rewards: np.ndarray, near: int) -> list[str]:
    """Success where the reward is at least one half, else failure; nothing for failure within ``near`` frames of a
    success that is itself shorter.

    Args:
        rewards: Of the frames of an episode, (T,).
        near: Frames.
    """
    success = rewards >= _SUCCESS_FROM
    unsure = np.zeros(len(rewards), bool)
    for first, after in _runs(success):
        if after - first < near:
            unsure[max(first - near, 0) : after + near] = True
    return [SUCCESS if hit else "" if open_ else FAILURE for hit, open_ in zip(success, unsure, strict=True)]


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """First index, and that after the last, of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], values.astype(int), [0]))))
    return [(int(first), int(after)) for first, after in edges.reshape(-1, 2)]


def _height_width(shape: Sequence[int]) -> tuple[int, int]:
    a, b, c = shape
    return (b, c) if a == 3 and c != 3 else (a, b)


def _uint8(image: object) -> np.ndarray:
    """(H, W, 3) uint8 of what a LeRobotDataset gives: (3, H, W) in [0, 1]."""
    value = np.asarray(image)
    if value.shape[0] == 3 and value.shape[-1] != 3:
        value = np.moveaxis(value, 0, -1)
    return value if value.dtype == np.uint8 else np.rint(value * 255.0).astype(np.uint8)
