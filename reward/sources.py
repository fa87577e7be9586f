"""Where labelled frames come from: recordings and runs, LeRobotDatasets, image folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from episodes.contract import Contract
from episodes.contract_file import load_contract
from episodes.layout import ObservationLayout
from episodes.lerobot_reading import INFO
from episodes.log import read_log
from reward.config import RewardError
from reward.frames import LabelledFrames, joined, stacked
from reward.gates import parse_gates
from reward.labels import LABELS, label_place, read_labels
from reward.preprocessing import cameras_of, chosen_cameras
from reward.verdicts import LoggedVerdicts

CONTRACT, LOG = "contract.json", "log"


def load_frames(
    paths: Sequence[str],
    cameras: Sequence[str] = (),
    gates: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> LabelledFrames:
    """The labelled frames of several folders.

    An episode that lies in several logs, as a run keeps its demonstrations, is taken once: as the latest word on it has
    it, and of words without a time, how an episode ended, the one in the later folder.

    Args:
        paths: Of recordings or runs (a log with labels), LeRobotDatasets, or image folders; named twice, once.
        cameras: Names of those to take, with or without ``observation.images.``; empty for all.
        gates: Conditions on the observed state without which nothing is a success; recordings and runs alone have it.
        say: Told what was taken of a LeRobotDataset, and what was not.

    Raises RewardError naming the folder and what is wrong with it.
    """
    folders = list({path.resolve(): path for path in (Path(path).expanduser() for path in paths)}.values())
    words = [_words_of_log(path) if _is_log(path) else {} for path in folders]
    times = [{episode: time_ns for episode, (time_ns, _) in of_folder.items()} for of_folder in words]
    parts = []
    for number, (path, of_folder) in enumerate(zip(folders, words, strict=True)):
        if _is_log(path):
            own = {
                episode: labels
                for episode, (time_ns, labels) in of_folder.items()
                if all(time_ns >= others.get(episode, time_ns) for others in times[:number])
                and all(time_ns > others.get(episode, -1) for others in times[number + 1 :])
            }
            parts.append(_frames_of_log(path, own, cameras, gates))
        else:
            parts.append(_load(path, cameras, gates, say))
    return joined(parts)


def _is_log(path: Path) -> bool:
    return (path / LOG).is_dir() and (path / CONTRACT).is_file()


def is_dataset(path: Path) -> bool:
    """Whether the folder is a LeRobotDataset."""
    return (path / INFO).is_file()


def _load(path: Path, cameras: Sequence[str], gates: Sequence[str], say: Callable[[str], None]) -> LabelledFrames:
    if gates:
        raise RewardError(
            f"gates need the state of every frame, which recordings and runs have. Got: data={path}. Train with "
            "gates=[] here, and give them where it runs: reward.gates"
        )
    if is_dataset(path):
        from reward.lerobot_folder import frames_of_dataset

        return frames_of_dataset(path, cameras, say)
    if any((path / label).is_dir() for label in LABELS):
        from reward.image_folder import frames_of_images

        return frames_of_images(path, cameras)
    raise RewardError(
        f"data={path} is none of these: recordings or a run (log/ and contract.json), a LeRobotDataset "
        f"({INFO}), an image folder (success/ and failure/)"
    )


def task_of(paths: Sequence[str]) -> tuple[str, float]:
    """Task and control rate in Hz of the first folder that has a contract or is a LeRobotDataset, whose task is left
    empty; empty and 0 where there is none."""
    for folder in (Path(path).expanduser() for path in paths):
        if (folder / CONTRACT).is_file():
            interface = load_contract(folder / CONTRACT).interface
            return interface.task, interface.control_hz
        if is_dataset(folder):
            return "", float(json.loads((folder / INFO).read_text())["fps"])
    return "", 0.0


def _frames_of_log(
    folder: Path, labels: Mapping[str, Sequence[str]], cameras: Sequence[str], gates: Sequence[str]
) -> LabelledFrames:
    """Frames of an episode log that ``labels``, by episode and frame, name; an episode is called by its id."""
    contract = load_contract(folder / CONTRACT)
    found = chosen_cameras(cameras_of(contract), cameras)
    conditions = parse_gates(gates, contract, "gates")
    layout = ObservationLayout(contract.stored)
    images: dict[str, list[np.ndarray]] = {camera.name: [] for camera in found}
    kept: list[tuple[str, str, int]] = []
    gated: list[bool] = []
    for episode, index, observation in observations(folder, contract):
        of_episode = labels.get(episode, [])
        label = of_episode[index] if index < len(of_episode) else ""
        if not label:
            continue
        shown = layout.unpack(observation)
        for name, values in images.items():
            values.append(shown[name])
        kept.append((label, episode, index))
        gated.append(not all(condition.holds(shown) for condition in conditions))
    places = tuple(label_place(folder, episode, index) for _, episode, index in kept)
    return replace(stacked(found, images, kept, places), gated=np.array(gated, bool))


def observations(folder: Path, contract: Contract) -> Iterator[tuple[str, int, Sequence[bytes]]]:
    """(episode id, frame index, observation items) of every whole frame of a log, in order; held steps are left out."""
    for _, entry in read_log(folder / LOG, interface_fingerprint=contract.interface_fingerprint):
        kind = entry.record.WhichOneof("body")
        if kind == "start":
            yield entry.record.start.episode_id, 0, entry.record.start.observation
        elif kind == "step" and not (entry.record.step.held or entry.record.step.interrupted):
            step = entry.record.step
            yield step.episode_id, step.index + 1, step.observation


def labels_of_log(folder: Path) -> dict[str, list[str]]:
    """The label of every frame by episode, empty for none: the later of labels and changed outcomes."""
    return {episode: labels for episode, (_, labels) in _words_of_log(folder).items()}


def _words_of_log(folder: Path) -> dict[str, tuple[int, list[str]]]:
    """The time of the last word on each episode, and the labels of its frames by it."""
    verdicts = LoggedVerdicts()
    for _, entry in read_log(folder / LOG):
        verdicts.take(entry.record)
    labelled = read_labels(folder)
    return {
        episode: (verdicts.time_ns(episode, labelled), labels) for episode, labels in verdicts.labels(labelled).items()
    }
