"""Labelled frames that a network can learn from in seconds."""

import numpy as np
import torch

from reward.classifier import Calibration, ClassifierSpec
from reward.frames import LabelledFrames
from reward.network import ClassifierNetwork, NetworkSpec
from reward.preprocessing import CameraFrames, Preprocessing
from reward.storage import classifier_bytes

CAMERAS = (
    CameraFrames("observation.images.front", 32, 40),
    CameraFrames("observation.images.wrist", 24, 24),
)


def square_frames(episodes, length, seed=0):
    """Frames of episodes; in the last 8 of every other one a bright square is in the upper half."""
    rng = np.random.default_rng(seed)
    count = episodes * length
    images = {c.name: rng.integers(90, 130, (count, c.height, c.width, 3), dtype=np.uint8) for c in CAMERAS}
    labels, names, indices = [], [], []
    for episode in range(episodes):
        for index in range(length):
            row = episode * length + index
            success = episode % 2 == 0 and index >= length - 8
            for camera in CAMERAS:
                top = 2 if success else camera.height - 10
                images[camera.name][row, top : top + 8, 6:18] = 250
            labels.append("success" if success else "almost" if episode % 4 == 1 else "failure")
            names.append(f"data/{episode}")
            indices.append(index)
    return LabelledFrames(CAMERAS, images, tuple(labels), tuple(names), np.array(indices))


def constant_classifier(cameras, logit, name="constant", **calibration):
    """The bytes of a classifier whose logit is the same whatever it sees."""
    network = ClassifierNetwork(NetworkSpec(len(cameras)))
    with torch.no_grad():
        network.head[-1].weight.zero_()
        network.head[-1].bias.fill_(logit)
    size = (cameras[0].height, cameras[0].width)
    spec = ClassifierSpec(name, "test", network.spec, Preprocessing(tuple(cameras), size), Calibration(**calibration))
    return classifier_bytes(spec, network)
