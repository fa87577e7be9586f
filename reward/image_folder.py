"""Labelled frames from an image folder: LABEL/EPISODE/IMAGE, or LABEL/EPISODE/CAMERA/IMAGE for several cameras.

Images of one episode lie in a folder of their own, because training splits by episode; the same name below two labels
is the same episode. Its frames follow each other by file name, 2.png before 10.png, whatever their labels; where two
labels have a file of one name, success comes last.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from episodes.contract import IMAGE_PREFIX
from reward.config import RewardError
from reward.frames import LabelledFrames
from reward.labels import LABELS, SUCCESS
from reward.preprocessing import CameraFrames, chosen_cameras

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
ONLY_CAMERA = IMAGE_PREFIX + "front"


def frames_of_images(folder: Path, cameras: Sequence[str] = ()) -> LabelledFrames:
    """Images of one camera are taken for ``observation.images.front``, unless ``cameras`` names another.

    Raises RewardError naming the folder that is of no label, or the file that is no image, of another size than the
    first, or not in an episode's folder.
    """
    if unknown := [path.name for path in _folders(folder) if path.name not in LABELS and path.name[0] != "."]:
        near = difflib.get_close_matches(unknown[0], LABELS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else " Move what is no label elsewhere"
        raise RewardError(f"the folders in {folder} must be of {', '.join(LABELS)}. Got: {', '.join(unknown)}.{hint}")
    rows: list[tuple[str, str, dict[str, Path]]] = []
    for label in (label for label in LABELS if (folder / label).is_dir()):
        if loose := _images(folder / label):
            raise RewardError(
                f"{loose[0]} lies directly in {folder / label}. Put the images of each episode into a folder of their "
                "own, because training and measuring are split by episode"
            )
        for episode in _folders(folder / label):
            rows += [(label, episode.name, files) for files in _moments(episode, cameras)]
    if not rows:
        raise RewardError(f"{folder} holds no images (looked for LABEL/EPISODE/*{', *'.join(SUFFIXES)})")
    rows.sort(key=lambda row: (row[1], _number(row[2][min(row[2])]), row[0] == SUCCESS))
    names = sorted(rows[0][2])
    read = {name: [_read(files[name]) for _, _, files in rows] for name in names}
    found = chosen_cameras([CameraFrames(name, *read[name][0].shape[:2]) for name in names], cameras)
    for camera in found:
        for image, (_, _, files) in zip(read[camera.name], rows, strict=True):
            if image.shape != (camera.height, camera.width, 3):
                raise RewardError(
                    f"{files[camera.name]} must have {camera.height} x {camera.width} pixels, like the first image. "
                    f"Got: {image.shape[0]} x {image.shape[1]}"
                )
    return LabelledFrames(
        found,
        {camera.name: np.stack(read[camera.name]) for camera in found},
        tuple(label for label, _, _ in rows),
        tuple(f"{folder.resolve()}/{episode}" for _, episode, _ in rows),
        np.arange(len(rows)),
        places=tuple(str(files[found[0].name].resolve()) for _, _, files in rows),
    )


def _moments(episode: Path, cameras: Sequence[str]) -> list[dict[str, Path]]:
    """The images of each moment of an episode by camera. Raises RewardError where one camera has more than another."""
    if files := _images(episode):
        name = cameras[0] if len(cameras) == 1 else ONLY_CAMERA
        full = name if name.startswith(IMAGE_PREFIX) else IMAGE_PREFIX + name
        return [{full: file} for file in files]
    by_camera = {IMAGE_PREFIX + camera.name: _images(camera) for camera in _folders(episode)}
    if len({len(files) for files in by_camera.values()}) > 1:
        sizes = ", ".join(f"{name}: {len(files)}" for name, files in by_camera.items())
        raise RewardError(f"{episode} must hold as many images of each camera. Got: {sizes}")
    return [dict(zip(by_camera, files, strict=True)) for files in zip(*by_camera.values(), strict=True)]


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise RewardError(f"{path} is no image that can be read")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _images(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES), key=_number)


def _number(path: Path) -> list[tuple[int, str]]:
    """Orders names by the numbers in them."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", path.name)]


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())
