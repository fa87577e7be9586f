"""Trains a success classifier from labelled frames, and measures it on episodes that no part of its training has seen.

Cross-fitting: the episodes are dealt into folds; for each fold a network is fitted to the others (of which some
episodes only say when to stop) and scores the fold. So every frame has a score by a network that knows nothing of its
episode; from these come temperature, threshold and all figures of the report. The threshold that decides on a fold in
the report is chosen on the other folds; the stored one on all. The classifier that is kept is fitted in the same way to
all folds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from policies.pretrained import WeightsFile, read_weights_file
from reward.augmentation import augmented
from reward.calibration import choose_threshold, fit_temperature, least_of_last, sigmoid
from reward.classifier import Calibration, ClassifierSpec, SuccessClassifier
from reward.config import CONFIRM, RewardError
from reward.fitting import FitConfig, Fitted, fit, logits_of
from reward.frames import LabelledFrames, folds, thinned
from reward.looks import ranges
from reward.measures import LearningPoint, measured
from reward.network import NetworkSpec
from reward.preprocessing import Preprocessing
from reward.storage import save_classifier

LEAST_FRAMES = 20
LARGEST_SIDE = 96
QUANTILES = 101
_STOP_SHARE = 6
_OTHER_DAYS = 6
"""Copies of the held-out frames as other days could show them, besides the frames as they are: rare mistakes show."""
_CURVE = (0.25, 0.5)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of ``tandem reward train``.

    Attributes:
        data: Folders of labelled frames: recordings, runs, LeRobotDatasets, image folders; [a,b] for several.
        out: Folder for classifier and report; empty for runs/reward-<time>.
        name: Of the classifier in logs; for the command, empty for the name of ``out``.
        cameras: Cameras it looks at; empty for all of the data.
        image_size: Side in pixels to which frames are brought for the network; 0 for their own, at most 96.
        encoder: ``small`` (trained from scratch), or a frozen pretrained ``resnet10`` or ``resnet18``.
        encoder_weights: Weights of a frozen encoder: a safetensors file or hub:OWNER/NAME/FILE.
        target_fpr: Share of frames without success at which one may be confirmed; 0.0001 are 3.6 an hour at 10 Hz.
        confirm: Frames in a row that must look like success: for the threshold, the report, and wherever it runs.
        gates: Conditions on the observed state without which nothing is a success, e.g. [tool.z>0.06]; they are stored
            with the classifier and hold wherever it runs: what they rule out is not learned from, and does not count
            for the threshold. Those of the classifier in ``out``, like its ``confirm``, where they are not given.
        control_hz: Frames a second, for figures an hour; 0 for the data's own, or 10.
        folds: Parts into which episodes are dealt for measuring.
        most_frames: Most frames of a class to fit a network to; of more, some are drawn. Measured on are all.
        max_steps: Most steps of a fit.
        seed: Of folds, weights, batches and augmentation.
        replace: Replace the classifier in ``out`` also by one that is clearly worse, or that confirms nothing.
        torch_threads: Threads of the CPU; more than one pays on idle cores alone.
    """

    data: tuple[str, ...]
    out: str = ""
    name: str = ""
    cameras: tuple[str, ...] = ()
    image_size: int = 0
    encoder: str = "small"
    encoder_weights: str = ""
    target_fpr: float = 0.0001
    confirm: int = CONFIRM
    gates: tuple[str, ...] = ()
    control_hz: float = 0.0
    folds: int = 3
    most_frames: int = 5000
    max_steps: int = 300
    seed: int = 0
    replace: bool = False
    torch_threads: int = 1

    def __post_init__(self) -> None:
        if not self.data:
            raise RewardError("data must name at least one folder of labelled frames: data=FOLDER or data=[A,B]")
        for key, low, high in (("target_fpr", 0.0, 0.5), ("image_size", 0, 1024)):
            if not low <= getattr(self, key) <= high:
                raise RewardError(f"{key} must lie in [{low}, {high}]. Got: {getattr(self, key)}")
        for key, least in (
            ("confirm", 1),
            ("torch_threads", 1),
            ("folds", 2),
            ("most_frames", LEAST_FRAMES),
            ("max_steps", 1),
        ):
            if getattr(self, key) < least:
                raise RewardError(f"{key} must be at least {least}. Got: {getattr(self, key)}")


@dataclass(frozen=True)
class Trained:
    """What came of training.

    Attributes:
        classifier: As it was stored.
        report: The figures, as report.json holds them.
        frames: What it was trained on.
        scores: Calibrated scores of the frames by networks that had not seen their episodes, (N,).
    """

    classifier: SuccessClassifier
    report: dict[str, Any]
    frames: LabelledFrames
    scores: np.ndarray = field(repr=False)


def train(
    frames: LabelledFrames,
    config: TrainConfig,
    folder: Path,
    *,
    task: str = "",
    control_hz: float = 10.0,
    say: Callable[[str], None] = lambda text: None,
) -> Trained:
    """Trains, measures and stores a classifier in ``folder``.

    Args:
        frames: Labelled frames of all sources.
        config: How.
        folder: Made by the caller.
        task: Of the data, for people.
        control_hz: Frames a second.
        say: Told in one line what goes on.

    Raises RewardError where there are too few frames of a class, or all frames look alike.
    """
    began_s = time.monotonic()
    rng = np.random.default_rng(config.seed)
    check_frames(frames)
    weights = _weights(config)
    network = NetworkSpec(len(frames.cameras), config.encoder, weights.sha256 if weights else "")
    preprocessing = Preprocessing(frames.cameras, _size(frames, config.image_size))
    fitter = _Fitter(network, preprocessing, FitConfig(max_steps=config.max_steps), config.most_frames, weights, say)

    allowed = ~frames.gated
    groups = folds(frames, config.folds, rng, least=max(3, 6 - config.folds))
    logits, elsewhere = np.zeros(len(frames)), np.zeros((_OTHER_DAYS, len(frames)))
    points: list[LearningPoint] = []
    for number, held_out in enumerate(groups):
        fitted = fitter.fit(frames, ~held_out & allowed, config.seed + number, f"fold {number + 1} of {len(groups)}")
        rows = np.flatnonzero(held_out)
        logits[rows] = logits_of(fitted.network, preprocessing, frames, rows)
        for day in elsewhere:
            day[rows] = logits_of(fitted.network, preprocessing, frames, rows, lambda images: augmented(images, rng))
        if not number:
            points.append(LearningPoint.of(frames, ~held_out & allowed, held_out & allowed, logits[held_out & allowed]))
    points = _learning_curve(fitter, frames, groups[0], config.seed, rng) + points
    final = fitter.fit(frames, allowed, config.seed + len(groups), "the classifier")

    positive = frames.positive
    temperature = fit_temperature(logits[allowed], positive[allowed])
    calibrated, every = logits / temperature, np.vstack((logits, elsewhere)) / temperature
    thresholds = np.zeros(len(frames))
    for held_out in groups:
        thresholds[held_out] = _threshold(frames, every, ~held_out, config)
    threshold = _threshold(frames, every, np.ones(len(frames), bool), config)
    spec = ClassifierSpec(
        name=config.name or folder.name,
        task=task,
        network=network,
        preprocessing=preprocessing,
        calibration=Calibration(
            temperature,
            threshold,
            config.confirm,
            _quantiles(calibrated[allowed & ~positive]),
            _quantiles(calibrated[allowed & positive]),
            config.gates,
            ranges({camera.name: frames.images[camera.name] for camera in frames.cameras}),
        ),
    )
    classifier = save_classifier(folder, spec, final.network)
    report = {
        "classifier": classifier.version,
        "task": task,
        "data": list(config.data),
        "steps": final.steps,
        "seconds": round(time.monotonic() - began_s, 1),
        **measured(frames, calibrated, thresholds, spec.calibration, config.target_fpr, control_hz),
        "learning_curve": [vars(point) for point in points],
        "more_labels": LearningPoint.advice(points),
    }
    return Trained(classifier, report, frames, sigmoid(calibrated))


@dataclass(frozen=True)
class _Fitter:
    """Fits networks of one kind."""

    network: NetworkSpec
    preprocessing: Preprocessing
    config: FitConfig
    most_frames: int
    weights: WeightsFile | None
    say: Callable[[str], None]

    def fit(self, frames: LabelledFrames, used: np.ndarray, seed: int, what: str) -> Fitted:
        """A network fitted to the frames ``used``, bool (N,), but for the episodes that say when to stop."""
        rng, rows = np.random.default_rng(seed), np.flatnonzero(used)
        stop = folds(frames.showing({}).subset(rows), _STOP_SHARE, rng)[0]
        return fit(
            self.network,
            self.preprocessing,
            thinned(frames, rows[~stop], self.most_frames, rng),
            thinned(frames, rows[stop], self.most_frames, rng),
            self.config,
            seed=seed,
            weights=self.weights,
            on_check=lambda step, loss: self.say(f"{what}: step {step}, log loss {loss:.3f} on other episodes"),
        )


def check_frames(frames: LabelledFrames) -> None:
    """Raises RewardError where a class has too few frames that no gate rules out, or nothing tells the frames apart."""
    allowed, where = ~frames.gated, " where the gates allow one" if frames.gated.any() else ""
    for name, of_class in (("success", frames.positive), ("no success", ~frames.positive)):
        if (count := int((of_class & allowed).sum())) < LEAST_FRAMES:
            if (labelled := int(of_class.sum())) >= LEAST_FRAMES:
                raise RewardError(
                    f"the gates rule out {labelled - count} of the {labelled} frames of {name}, and at least "
                    f"{LEAST_FRAMES} must be left. Is a bound of gates= wrong?"
                )
            raise RewardError(
                f"at least {LEAST_FRAMES} frames of {name} are needed{where}, better ten times as many. Got: {count} "
                f"of {len(frames)}. Record some with `tandem record reward=human`, or label some with `tandem label`"
            )
    if all((value == value[:1]).all() for value in frames.images.values()):
        raise RewardError("all frames are alike: there is nothing to tell success by. Is a camera covered or frozen?")


def _threshold(frames: LabelledFrames, logits: np.ndarray, used: np.ndarray, config: TrainConfig) -> float:
    """The score from which a frame looks like success, by the frames ``used``, bool (N,), as they are and as another
    day could show them: the rows of ``logits``, (days, N). What a gate rules out there cannot confirm anything."""
    frames, logits = frames.showing({}).subset(used), np.where(frames.gated, -np.inf, logits)[:, used]
    found = [least_of_last(values, frames.episodes, frames.indices, config.confirm) for values in logits]
    copies = len(found)
    threshold = choose_threshold(
        np.concatenate(found),
        np.tile(frames.positive, copies),
        [f"{copy}/{episode}" for copy in range(copies) for episode in frames.episodes],
        config.target_fpr,
    )
    return float(sigmoid(np.array(threshold)))


def _weights(config: TrainConfig) -> WeightsFile | None:
    return None if config.encoder == "small" else read_weights_file(config.encoder_weights, key="encoder_weights")


def _size(frames: LabelledFrames, side: int) -> tuple[int, int]:
    height, width = frames.cameras[0].height, frames.cameras[0].width
    side = side or min(max(height, width), LARGEST_SIDE)
    return max(1, round(side * height / max(height, width))), max(1, round(side * width / max(height, width)))


def _learning_curve(
    fitter: _Fitter, frames: LabelledFrames, held_out: np.ndarray, seed: int, rng: np.random.Generator
) -> list[LearningPoint]:
    """How well networks that saw a part of the episodes do on the first fold; too small parts are left out."""
    allowed = ~frames.gated
    test = np.flatnonzero(held_out & allowed)
    points = []
    for share in _CURVE:
        used = _share_of_episodes(frames, ~held_out & allowed, share, rng) & allowed
        try:
            fitted = fitter.fit(frames, used, seed, f"with {share:.0%} of the episodes")
        except RewardError:
            continue
        logits = logits_of(fitted.network, fitter.preprocessing, frames, test)
        points.append(LearningPoint.of(frames, used, held_out & allowed, logits))
    return points


def _share_of_episodes(frames: LabelledFrames, among: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Rows of a share of the episodes ``among``, of those with and of those without success, bool (N,)."""
    with_success = {frames.episodes[row] for row in np.flatnonzero(among & frames.positive)}
    without = {frames.episodes[row] for row in np.flatnonzero(among)} - with_success
    chosen: list[str] = []
    for group in (sorted(with_success), sorted(without)):
        chosen += [group[i] for i in rng.permutation(len(group))[: round(share * len(group))]]
    return frames.of_episodes(chosen)


def _quantiles(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(v) for v in np.quantile(values, np.linspace(0, 1, QUANTILES)))
