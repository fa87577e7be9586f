"""Episodes of a log as a LeRobotDataset (v3), and a local LeRobotDataset as demonstrations.

A LeRobotDataset keeps one observation per action and so loses the one after the last step. An export keeps it, and the
contract, in files beside LeRobot's own (``tandem/``), so that importing it gives the same transitions back. In a
dataset of others the last frame of an episode becomes the observation after its last step, and keeps its reward.

Images have the sizes of ``Contract.stored``: a dataset holds them as the policy sees them, cropped and resized already.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from episodes.contract import Contract, ContractError, Feature
from episodes.contract_differences import difference_lines, stored_differences
from episodes.contract_file import load_contract, save_contract
from episodes.layout import ObservationLayout
from episodes.lerobot_reading import BACKEND, REPO_ID, DatasetError, open_dataset, read_frame
from episodes.log import EpisodeLog, read_log
from episodes.outcome import Outcome
from transport import records_pb2 as pb

REWARD, DONE, SUCCESS, HUMAN = "next.reward", "next.done", "next.success", "complementary_info.is_intervention"
SIDE_FOLDER, FINAL_FILE, CONTRACT_FILE = "tandem", "final_observations.npz", "contract.json"
_ACTION_MARGIN = 1e-5
_LEFT_OUT = (Outcome.DISCARDED, Outcome.CUT)


@dataclass
class _Episode:
    """Observations of length T + 1, and steps of length T."""

    outcome: Outcome = Outcome.CUT
    observations: list[dict[str, np.ndarray]] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    human: list[bool] = field(default_factory=list)
    broken: bool = False


def export_episodes(log: Path, contract: Contract, folder: Path) -> int:
    """Writes the finished episodes of the log in ``log`` to a new LeRobotDataset in ``folder``; returns their number.

    Discarded and cut episodes are left out, and of an episode with a held or interrupted step what comes from there.
    Later verdicts count. Images are kept without loss. The frame rate is the contract's, at least 1.

    Raises DatasetError where ``folder`` exists or the log has no such episode.
    """
    if folder.exists():
        raise DatasetError(f"{folder} exists already. Choose another folder")
    episodes = [e for e in _logged(log, contract).values() if e.actions and e.outcome not in _LEFT_OUT]
    if not episodes:
        raise DatasetError(f"the log in {log} holds no finished episode")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    interface = contract.interface
    features = {f.name: _feature(f) for f in (*contract.stored, interface.action)}
    features |= {
        REWARD: {"dtype": "float32", "shape": (1,), "names": None},
        DONE: {"dtype": "bool", "shape": (1,), "names": None},
        SUCCESS: {"dtype": "bool", "shape": (1,), "names": None},
        HUMAN: {"dtype": "bool", "shape": (1,), "names": None},
    }
    rate = max(1, round(interface.control_hz))
    dataset = LeRobotDataset.create(REPO_ID, rate, features, root=folder, use_videos=False, video_backend=BACKEND)
    for episode in episodes:
        for t, action in enumerate(episode.actions):
            last = t == len(episode.actions) - 1
            frame: dict[str, Any] = dict(episode.observations[t])
            frame |= {
                "action": action,
                REWARD: np.array([episode.rewards[t]], np.float32),
                DONE: np.array([last and episode.outcome != Outcome.TIMEOUT]),
                SUCCESS: np.array([last and episode.outcome == Outcome.SUCCESS]),
                HUMAN: np.array([episode.human[t]]),
                "task": interface.task,
            }
            dataset.add_frame(frame)
        dataset.save_episode()
    dataset.finalize()
    (folder / SIDE_FOLDER).mkdir()
    save_contract(folder / SIDE_FOLDER / CONTRACT_FILE, contract)
    finals = {f"{i}/{name}": v for i, e in enumerate(episodes) for name, v in e.observations[-1].items()}
    np.savez(folder / SIDE_FOLDER / FINAL_FILE, **finals)  # type: ignore[arg-type]
    return len(episodes)


def import_dataset(folder: Path, contract: Contract, target: Path) -> int:
    """Writes a local LeRobotDataset as demonstrations, for ``demos=``, into a new folder; returns their number.

    Every episode becomes a demonstration; its steps are a person's unless the dataset says otherwise. Without
    ``next.reward`` and ``next.success`` in the dataset every episode counts as a success, with reward 1 at its end.

    Raises DatasetError where a feature of the contract is absent or of another shape, the images of an export of
    ours were cropped or resized otherwise, an image is neither uint8 nor 0 to 1, an action is not in [-1, 1], or
    ``target`` exists.
    """
    if target.exists():
        raise DatasetError(f"{target} exists already. Choose another folder")
    dataset = open_dataset(folder)
    for feature in (*contract.stored, contract.interface.action):
        _check_feature(feature, dataset.features, folder)
    _check_view(folder, contract)
    finals = folder / SIDE_FOLDER / FINAL_FILE
    final = dict(np.load(finals, allow_pickle=False)) if finals.is_file() else {}
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        count = _write(unfinished, contract, _read(dataset, contract, final))
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return count


def _write(folder: Path, contract: Contract, episodes: Iterator[_Episode]) -> int:
    layout, spool = ObservationLayout(contract.stored), f"lerobot-{uuid.uuid4().hex[:12]}"
    (folder / "log").mkdir(parents=True)
    save_contract(folder / CONTRACT_FILE, contract)
    sequence = count = 0
    with EpisodeLog(
        folder / "log", run_id=spool, interface_fingerprint=contract.interface_fingerprint, sync="os"
    ) as log:
        for episode in episodes:
            entries = []
            for record in _records(episode, layout):
                sequence += 1
                record.sequence = sequence
                entries.append(pb.LogEntry(spool_id=spool, actor="lerobot", record=record).SerializeToString())
            log.append(entries)
            count += 1
    return count


def _logged(log: Path, contract: Contract) -> dict[str, _Episode]:
    layout = ObservationLayout(contract.stored)
    episodes: dict[str, _Episode] = {}
    for _, entry in read_log(log, interface_fingerprint=contract.interface_fingerprint):
        record = entry.record
        kind = record.WhichOneof("body")
        if kind == "start":
            episodes[record.start.episode_id] = _Episode(observations=[layout.unpack(record.start.observation)])
        elif kind == "step":
            episode, step = episodes[record.step.episode_id], record.step
            episode.broken |= bool(step.held or step.interrupted)
            if not episode.broken:
                episode.observations.append(layout.unpack(step.observation))
                episode.actions.append(np.array(step.chosen, np.float32))
                episode.rewards.append(step.rewards[-1].value if step.rewards else 0.0)
                episode.human.append(step.human)
        elif kind == "end":
            episodes[record.end.episode_id].outcome = Outcome(record.end.outcome)
        elif kind == "amendment" and record.amendment.episode_id in episodes:
            _amend(episodes[record.amendment.episode_id], record.amendment)
    return episodes


def _amend(episode: _Episode, amendment: pb.Amendment) -> None:
    outcome = Outcome(amendment.outcome)
    if outcome == Outcome.SUCCESS:
        steps = min(amendment.step + 1, len(episode.actions))
        del episode.observations[steps + 1 :], episode.actions[steps:], episode.rewards[steps:], episode.human[steps:]
        episode.rewards[-1:] = [1.0]
    elif outcome == Outcome.FAILURE and episode.outcome == Outcome.SUCCESS:
        episode.rewards[-1:] = [0.0]
    episode.outcome = outcome


def _feature(feature: Feature) -> dict[str, Any]:
    if feature.is_image:
        return {"dtype": "image", "shape": feature.shape, "names": ["height", "width", "channels"]}
    return {"dtype": "float32", "shape": feature.shape, "names": list(feature.components) or None}


def _check_feature(feature: Feature, found: dict[str, Any], folder: Path) -> None:
    if feature.name not in found:
        raise DatasetError(f"{folder} lacks {feature.name!r}. It has: {sorted(found)}")
    shape = tuple(found[feature.name]["shape"])
    names = found[feature.name].get("names") or ()
    if feature.is_image and len(shape) == 3 and names and names[0] in ("channel", "channels"):
        shape = (*shape[1:], shape[0])
    if shape != tuple(feature.shape):
        hint = ", after crop and resize" if feature.is_image else ""
        raise DatasetError(f"{feature.name!r} in {folder} must have shape {tuple(feature.shape)}{hint}. Got: {shape}")


def _check_view(folder: Path, contract: Contract) -> None:
    """Frames of an equal size may still have been cropped otherwise; an export says how."""
    path = folder / SIDE_FOLDER / CONTRACT_FILE
    if not path.is_file():
        return
    try:
        differing = stored_differences(contract, load_contract(path))
    except ContractError as error:
        raise DatasetError(f"{folder} cannot be imported: {error}") from None
    images = {f.name for f in contract.stored if f.is_image}
    if found := [d for d in differing if d.feature in images]:
        raise DatasetError(
            f"the images in {folder} were cropped or resized otherwise:\n"
            + "\n".join(f"  {line}" for line in difference_lines(found))
            + "\nSet these settings as they were, or record new demonstrations"
        )


def _read(dataset: Any, contract: Contract, final: dict[str, np.ndarray]) -> Iterator[_Episode]:
    """One episode after another; frames are in order."""
    names = [f.name for f in contract.stored]
    judged = REWARD in dataset.features and SUCCESS in dataset.features
    rows = dataset.meta.episodes
    for number in range(dataset.num_episodes):
        episode = _Episode(outcome=Outcome.SUCCESS)
        success = done = False
        for i in range(int(rows[number]["dataset_from_index"]), int(rows[number]["dataset_to_index"])):
            frame = read_frame(dataset, number, i)
            where = f"episode {number}, frame {len(episode.actions)}"
            episode.observations.append({f.name: _array(frame[f.name], f, where) for f in contract.stored})
            action = np.asarray(frame["action"], np.float32).ravel()
            if not (np.abs(action) <= 1.0 + _ACTION_MARGIN).all():
                raise DatasetError(f"'action' of {where} must lie in the contract's [-1, 1]. Got: {action.tolist()}")
            episode.actions.append(np.clip(action, -1.0, 1.0))
            episode.rewards.append(float(frame[REWARD]) if judged else 0.0)
            episode.human.append(bool(frame.get(HUMAN, True)))
            success, done = (bool(frame[SUCCESS]), bool(frame.get(DONE, True))) if judged else (True, True)
        if final:
            episode.observations.append({name: final[f"{number}/{name}"] for name in names})
        else:
            del episode.actions[-1:], episode.human[-1:], episode.rewards[-2:-1]
        if not episode.actions:
            continue
        if not judged:
            episode.rewards[-1] = 1.0
        episode.outcome = Outcome.SUCCESS if success else Outcome.FAILURE if done else Outcome.TIMEOUT
        yield episode


def _array(value: Any, feature: Feature, where: str) -> np.ndarray:
    """The value in the feature's type and shape: an image uint8, channels last, from that or from float 0 to 1."""
    array = np.asarray(value)
    if not feature.is_image:
        return array.astype(np.float32).reshape(feature.shape)
    if array.shape != tuple(feature.shape):
        array = np.moveaxis(array, 0, -1)
    if array.dtype != np.uint8:
        levels = np.rint(array * 255.0)
        if not ((levels >= 0.0) & (levels <= 255.0)).all():
            raise DatasetError(
                f"{feature.name!r} of {where} must be uint8, or float from 0 to 1. "
                f"Got: {array.dtype} from {array.min():.4g} to {array.max():.4g}"
            )
        array = levels.astype(np.uint8)
    return np.ascontiguousarray(array)


def _records(episode: _Episode, layout: ObservationLayout) -> Iterator[pb.Record]:
    id = uuid.uuid4().hex
    first = layout.pack(episode.observations[0])
    yield pb.Record(start=pb.EpisodeStart(episode_id=id, purpose=pb.PURPOSE_DEMONSTRATION, observation=first))
    last = len(episode.actions) - 1
    for t, action in enumerate(episode.actions):
        ended = t == last
        yield pb.Record(
            step=pb.Step(
                episode_id=id,
                index=t,
                proposed=action,
                chosen=action,
                sent=action,
                observation=layout.pack(episode.observations[t + 1]),
                rewards=[pb.Reward(source="env", value=episode.rewards[t])],
                terminated=ended and episode.outcome != Outcome.TIMEOUT,
                truncated=ended and episode.outcome == Outcome.TIMEOUT,
                human=episode.human[t],
            )
        )
    end = pb.EpisodeEnd(episode_id=id, outcome=pb.Outcome.ValueType(episode.outcome), author="env", steps=last + 1)
    yield pb.Record(end=end)
