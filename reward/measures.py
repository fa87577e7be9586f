"""What a classifier is worth, in figures: of frames, of episodes after confirmation, and an hour of running."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metrics.wilson import wilson_interval
from reward.calibration import SECONDS_AN_HOUR, Confirmed, confirm_episodes, log_loss, poisson_interval, sigmoid
from reward.classifier import Calibration, SuccessClassifier
from reward.config import MIN_STEP
from reward.frames import LabelledFrames

_BINS = 10
_WORST = 12
_MUCH = 0.1
"""Share by which a log loss must change before it is said to: chosen, not measured."""
_LITTLE = 0.03
"""A log loss with nothing told wrongly below which there is little to gain: labels are softened by 1 %, so that being
right throughout costs 0.01."""


@dataclass(frozen=True)
class LearningPoint:
    """How well a part of the labels does.

    Attributes:
        positives, negatives: Frames of each class that were used.
        loss: Balanced log loss on the held-out episodes.
        error: Mean of the two classes' shares of wrong frames there.
    """

    positives: int
    negatives: int
    loss: float
    error: float

    @staticmethod
    def of(frames: LabelledFrames, used: np.ndarray, held_out: np.ndarray, logits: np.ndarray) -> LearningPoint:
        """From the logits of the held-out frames."""
        positive, actual = frames.positive, frames.positive[held_out]
        loss = (log_loss(logits[actual], actual[actual]) + log_loss(logits[~actual], actual[~actual])) / 2
        error = ((logits[actual] <= 0).mean() + (logits[~actual] > 0).mean()) / 2
        return LearningPoint(int(positive[used].sum()), int((~positive[used]).sum()), loss, float(error))

    @staticmethod
    def advice(points: Sequence[LearningPoint]) -> str:
        """What the last of the labels did, in a sentence: one fit a point on one split tells no more."""
        if len(points) < 2:
            return "too few labels for a learning curve: more labels will help"
        before, last = points[-2].loss, points[-1].loss
        frames = [point.positives + point.negatives for point in points[-2:]]
        losses = f"log loss {before:.3f} with {frames[0]} frames, {last:.3f} with {frames[1]}"
        by = f"{losses}, by one fit a point on one split"
        if points[-1].error == 0 and last < _LITTLE:
            return f"these labels leave next to nothing to gain on this split: {by}"
        if last < (1 - _MUCH) * before:
            return f"more labels will probably help: {by}"
        if last > (1 + _MUCH) * before:
            return f"whether more labels would help cannot be told: {by}"
        return f"more labels of the same kind made little difference on this split: {by}"


def measured(
    frames: LabelledFrames,
    logits: np.ndarray,
    thresholds: np.ndarray,
    calibration: Calibration,
    target_fpr: float,
    control_hz: float,
) -> dict[str, Any]:
    """Every figure of the report that comes from held-out scores.

    Args:
        frames: Labelled frames.
        logits: Their calibrated logits by networks that had not seen their episodes, (N,).
        thresholds: Score from which each frame looks like success, chosen without its episode, (N,).
        calibration: As it is stored: confirmation, gates, and the threshold of all frames.
        target_fpr: For which the threshold was chosen.
        control_hz: Frames a second.
    """
    positive, scores, allowed = frames.positive, sigmoid(logits), ~frames.gated
    looks = scores >= thresholds
    found = looks & allowed
    hits, false = int((found & positive).sum()), int((found & ~positive).sum())

    return {
        "labels": {label: frames.labels.count(label) for label in dict.fromkeys(frames.labels)},
        "episodes": len(set(frames.episodes)),
        "threshold": calibration.threshold,
        "thresholds_of_folds": sorted(set(thresholds.tolist())),
        "temperature": calibration.temperature,
        "confirm": calibration.confirm,
        "target_fpr": target_fpr,
        "control_hz": control_hz,
        "frames": {
            "precision": _rate(hits, hits + false),
            "recall": _rate(hits, int(positive.sum())),
            "false_positive_rate": _rate(false, int((~positive).sum())),
            "log_loss": log_loss(logits[allowed], positive[allowed]),
        },
        **of_episodes(frames, found, calibration, control_hz),
        "gates": list(calibration.gates),
        "ruled_out": int(frames.gated.sum()),
        "gates_alone": of_episodes(frames, allowed, calibration, control_hz) if calibration.gates else None,
        "reliability": _reliability(scores[allowed], positive[allowed]),
        "worst": _worst(frames, scores),
    }


def of_episodes(
    frames: LabelledFrames, looks: np.ndarray, calibration: Calibration, control_hz: float
) -> dict[str, Any]:
    """Confusion of episodes and false positives an hour of the rule that runs, where frames that ``looks``, bool (N,),
    look like success.

    Gates come with recordings and runs alone, whose frames count from the start of an episode: there success counts
    from ``MIN_STEP``, as in a run.
    """
    confirmed = confirm_episodes(
        looks,
        frames.positive,
        frames.episodes,
        frames.indices,
        confirm=calibration.confirm,
        control_hz=control_hz,
        first=MIN_STEP + 1 if calibration.gates else 0,
    )
    return {"per_episode": confusion(confirmed), "false_positives_an_hour": false_positives(confirmed)}


def of_another(classifier: SuccessClassifier, frames: LabelledFrames, control_hz: float) -> dict[str, Any] | None:
    """``of_episodes`` of a classifier that is there already, on these frames; None where its cameras are others."""
    if classifier.spec.preprocessing.cameras != frames.cameras:
        return None
    looks = (sigmoid(classifier.logits(frames.images)) >= classifier.calibration.threshold) & ~frames.gated
    return of_episodes(frames, looks, classifier.calibration, control_hz)


def confusion(found: Sequence[Confirmed]) -> dict[str, Any]:
    """Episodes by what they were and what was confirmed in them; ``early`` is a success confirmed before it was one.
    What was not confirmed because too few frames of it are labelled says nothing about recall."""
    right = sum(c.right for c in found)
    early = sum(c.success and c.frame is not None and not c.right for c in found)
    wrong = sum(not c.success and c.frame is not None for c in found)
    missed = sum(c.success and c.frame is None and not c.short for c in found)
    return {
        "success_confirmed": right,
        "success_confirmed_early": early,
        "success_missed": missed,
        "success_too_short": sum(c.short and c.frame is None for c in found),
        "failure_confirmed": wrong,
        "failure_passed": sum(not c.success and c.frame is None for c in found),
        "precision": _rate(right, right + early + wrong),
        "recall": _rate(right, right + early + missed),
    }


def false_positives(found: Sequence[Confirmed]) -> dict[str, Any]:
    """Successes confirmed where there was none, an hour of frames without success, with the exact 95 % interval."""
    events = sum(c.frame is not None and not c.right for c in found)
    hours = sum(c.seconds_failing for c in found) / SECONDS_AN_HOUR
    low, high = poisson_interval(events, hours)
    return {"events": events, "hours": hours, "rate": events / hours if hours else 0.0, "interval": [low, high]}


def _rate(count: int, of: int) -> dict[str, Any]:
    return {
        "value": count / of if of else None,
        "count": count,
        "of": of,
        "interval": list(wilson_interval(count, of)),
    }


def _reliability(scores: np.ndarray, positive: np.ndarray) -> list[dict[str, float]]:
    """By tenth of the score: its mean, the share of success, and how many frames."""
    place = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    return [
        {
            "score": float(scores[place == b].mean()),
            "success": float(positive[place == b].mean()),
            "frames": int((place == b).sum()),
        }
        for b in range(_BINS)
        if (place == b).any()
    ]


def _worst(frames: LabelledFrames, scores: np.ndarray) -> list[dict[str, Any]]:
    """The frames, of those that no gate rules out, whose score is furthest from their label, at most two of an
    episode."""
    distance = np.where(frames.gated, 0.0, np.where(frames.positive, 1 - scores, scores))
    taken: dict[str, int] = {}
    rows: list[int] = []
    for row in np.argsort(-distance):
        episode = frames.episodes[row]
        if distance[row] < 0.5 or len(rows) == _WORST:
            break
        if taken.get(episode, 0) < 2:
            taken[episode] = taken.get(episode, 0) + 1
            rows.append(int(row))
    return [
        {
            "row": row,
            "episode": frames.episodes[row],
            "frame": int(frames.indices[row]),
            "label": frames.labels[row],
            "score": float(scores[row]),
            "place": frames.places[row],
        }
        for row in rows
    ]
