"""A local LeRobotDataset (v3), opened and read frame by frame, with errors that say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

REPO_ID = "tandem--local"
"""No hub can have this id: a file that is missing here must not be looked for there."""
INFO = Path("meta", "info.json")
BACKEND = "pyav"
"""Comes with lerobot[dataset] and brings its own FFmpeg; torchcodec, LeRobot's default, needs one that is installed."""


class DatasetError(ValueError):
    """A dataset that cannot be taken. The text names the key, the expected and the actual."""


def open_dataset(folder: Path) -> Any:
    """The LeRobotDataset in ``folder``.

    Raises DatasetError where it is none, lacks a file, is of another version, or lerobot is not installed.
    """
    if not (folder / INFO).is_file():
        raise DatasetError(f"{folder} is no LeRobotDataset (no {INFO})")
    try:
        from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
        from lerobot.datasets.lerobot_dataset import LeRobotDataset
    except ImportError as error:
        raise DatasetError(
            f"{folder} is a LeRobotDataset, which cannot be read here: {error}. Install what reads it: "
            "pip install 'tandem-rl[lerobot]'"
        ) from error
    try:
        meta = LeRobotDatasetMetadata(REPO_ID, folder)
        for number in range(meta.total_episodes):
            _check_file(folder, meta.get_data_file_path(number), "the steps", number)
            for camera in meta.video_keys:
                _check_file(folder, meta.get_video_file_path(number, camera), f"the video of {camera}", number)
        return LeRobotDataset(REPO_ID, root=folder, video_backend=BACKEND)
    except DatasetError:
        raise
    except Exception as error:
        hint = "Fetch all of its folders, meta/, data/ and videos/, again" if _is_incomplete(error) else _short(error)
        raise DatasetError(f"{folder} cannot be read as a LeRobotDataset v3. {hint}") from error


def read_frame(dataset: Any, number: int, row: int) -> dict[str, Any]:
    """Row ``row`` of a dataset, which lies in episode ``number``.

    Raises DatasetError naming dataset, camera and video where a picture cannot be decoded.
    """
    try:
        frame: dict[str, Any] = dataset[row]
    except Exception as error:
        folder, meta = Path(dataset.root), dataset.meta
        videos = {camera: str(folder / meta.get_video_file_path(number, camera)) for camera in meta.video_keys}
        guilty = {camera: path for camera, path in videos.items() if path in str(error)} or videos
        cameras = ", ".join(f"{camera} ({path})" for camera, path in guilty.items()) or ", ".join(meta.camera_keys)
        raise DatasetError(
            f"{folder}: the picture of {cameras} at row {row}, in episode {number}, cannot be decoded: {_short(error)} "
            "Fetch the file again; if it plays elsewhere, encode the videos anew as h264 or av1, or leave this dataset "
            "out"
        ) from error
    return frame


def _check_file(folder: Path, path: Path, what: str, number: int) -> None:
    if not (folder / path).is_file():
        raise DatasetError(f"{folder} lacks {path}, which holds {what} in episode {number}. Fetch the dataset again")


def _is_incomplete(error: Exception) -> bool:
    """LeRobot asks the hub for what is missing, which refuses the id."""
    return type(error).__name__ == "HFValidationError" or isinstance(error, FileNotFoundError)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(".") + "."
