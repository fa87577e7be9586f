"""What the network sees is the same, byte for byte, in training and when running; other frames are refused."""

from dataclasses import replace

import numpy as np
import pytest

from envs.registry import derive_contract
from envs.so101_interface import SO101SimConfig
from reward import fitting
from reward.augmentation import augmented
from reward.classifier import ClassifierSpec
from reward.fitting import FitConfig, fit, logits_of
from reward.network import NetworkSpec
from reward.preprocessing import FrameError, Preprocessing, cameras_of, stacked
from reward.storage import load_classifier, save_classifier
from tests.reward.squares import CAMERAS


def moment(frames, row):
    return {name: value[row] for name, value in frames.images.items()} | {"observation.state": np.zeros(3, np.float32)}


@pytest.mark.parametrize("size", [(32, 40), (20, 25), (64, 80)])
def test_running_shows_the_network_the_bytes_of_training(frames, size, monkeypatch):
    seen = []
    preprocessing = Preprocessing(CAMERAS, size)
    monkeypatch.setattr(fitting, "augmented", lambda images, rng: images)
    monkeypatch.setattr(fitting, "balanced_rows", lambda *_: np.arange(6))

    class Watched(Preprocessing):
        def __call__(self, images):
            tensors = super().__call__(images)
            seen.append([t.numpy().tobytes() for t in tensors])
            return tensors

    watched = Watched(CAMERAS, size)
    fit(NetworkSpec(2), watched, frames, frames.subset(np.arange(60)), FitConfig(max_steps=1), seed=0)
    batch = preprocessing(frames.at(np.arange(6)))
    assert seen[0] == [t.numpy().tobytes() for t in batch]
    for row in range(6):
        for trained, running in zip(batch, preprocessing(stacked(moment(frames, row))), strict=True):
            assert trained[row].numpy().tobytes() == running[0].numpy().tobytes()


def test_training_is_shown_other_days_and_looks_at_frames_as_they_are_and_on_other_days(frames):
    """Moved and recoloured frames to learn from; what says when to stop is looked at unchanged too."""
    shown = []

    class Watched(Preprocessing):
        def __call__(self, images):
            shown.append(images[CAMERAS[0].name])
            return super().__call__(images)

    fit(NetworkSpec(2), Watched(CAMERAS, (32, 40)), frames, frames, FitConfig(max_steps=1), seed=0)
    stored = {frame.tobytes() for frame in frames.images[CAMERAS[0].name]}
    learned, looked_at, *other_days = shown
    assert not any(frame.tobytes() in stored for frame in learned)
    assert all(frame.tobytes() in stored for frame in looked_at)
    assert other_days
    assert not any(frame.tobytes() in stored for day in other_days for frame in day)


def test_a_network_that_is_surer_than_it_was_fitted_to_be_does_not_look_better():
    positive = np.array([True, False])
    fitted = np.log(fitting.softened(positive) / (1 - fitting.softened(positive)))
    least = fitting.balanced_loss(fitted, positive)
    assert least == pytest.approx(0.056, abs=1e-3)
    assert all(fitting.balanced_loss(scale * fitted, positive) > least for scale in (0.5, 2.0))


def test_a_frame_of_another_day_is_moved_and_has_other_colours():
    frame = np.full((1, 32, 40, 3), 60, np.uint8)
    frame[:, 12:20, 16:24] = 180
    days = [augmented({"a": frame, "b": frame}, np.random.default_rng(seed)) for seed in range(20)]
    assert len({(day["a"] > day["a"].mean()).tobytes() for day in days}) == 20, "moved"
    assert len({day["a"][0, 0, 0].tobytes() for day in days}) == 20, "other colours"
    assert all((day["a"] != day["b"]).any() for day in days), "each camera on its own"
    assert all((day["a"][0, 0, 0] == day["b"][0, 0, 0]).all() for day in days), "in one light"


def test_a_stored_classifier_runs_with_the_preprocessing_it_was_trained_with(frames, tmp_path):
    preprocessing = Preprocessing(CAMERAS, (20, 25))
    fitted = fit(NetworkSpec(2), preprocessing, frames, frames, FitConfig(max_steps=2), seed=0)
    running = save_classifier(tmp_path, ClassifierSpec("a", "t", NetworkSpec(2), preprocessing), fitted.network)
    assert running.spec.preprocessing == preprocessing
    np.testing.assert_array_equal(running.logits(frames.images), logits_of(fitted.network, preprocessing, frames))


def test_frames_of_another_camera_size_or_dtype_are_refused_by_name(frames):
    preprocessing = Preprocessing(CAMERAS, (32, 40))
    good = stacked(moment(frames, 0))
    front = CAMERAS[0].name
    with pytest.raises(FrameError, match=r"needs 'observation.images.front': uint8 of 32 x 40 pixels"):
        preprocessing({n: v for n, v in good.items() if n != front})
    with pytest.raises(FrameError, match=r"must be uint8 of 32 x 40 pixels, as in training. Got: uint8 of shape"):
        preprocessing(good | {front: good[front][:, :30]})
    with pytest.raises(FrameError, match="Got: float32"):
        preprocessing(good | {front: good[front].astype(np.float32)})


def test_a_model_of_another_contract_is_refused_naming_each_key():
    config = SO101SimConfig(obs="pixels")
    cameras = cameras_of(derive_contract("so101_sim", config))
    preprocessing = Preprocessing(cameras, (64, 64))
    preprocessing.check(derive_contract("so101_sim", config))
    cropped = derive_contract("so101_sim", replace(config, image_crop=(0, 0, 48, 48), image_resize=(64, 64)))
    with pytest.raises(FrameError, match=r"observation.images.front.crop: expected \(\), got \(0, 0, 48, 48\)"):
        preprocessing.check(cropped)
    with pytest.raises(
        FrameError, match=r"observation.images.wrist: expected this camera, got observation.images.front"
    ):
        preprocessing.check(derive_contract("so101_sim", replace(config, cameras=("front",))))
    with pytest.raises(FrameError, match="has no camera"):
        preprocessing.check(derive_contract("so101_sim", replace(config, obs="state")))


def test_a_stored_classifier_is_loaded_completely_or_refused(frames, tmp_path):
    preprocessing = Preprocessing(CAMERAS, (32, 40))
    network = fit(NetworkSpec(2), preprocessing, frames, frames, FitConfig(max_steps=1), seed=0).network
    saved = save_classifier(tmp_path, ClassifierSpec("a", "t", NetworkSpec(2), preprocessing), network)
    data = (tmp_path / "classifier.safetensors").read_bytes()
    assert load_classifier(data).version == saved.version
    assert saved.version.startswith("a@")
    for wrong in (
        data[:-9],
        data[:100],
        b"",
        b"\x80\x04pickle",
        data.replace(b"tandem.classifier.v1", b"tandem.classifier.v9"),
    ):
        with pytest.raises(ValueError, match=r"the classifier cannot be read"):
            load_classifier(wrong)
