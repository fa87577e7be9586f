"""From logits on frames no part of training has seen to a calibrated score, a threshold, and what to expect of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SECONDS_AN_HOUR = 3600.0


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Strictly between 0 and 1 for any logit."""
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -36, 36)))


def fit_temperature(logits: np.ndarray, positive: np.ndarray) -> float:
    """The T in [0.2, 20] whose ``sigmoid(logits / T)`` has the least log loss (Guo et al., arXiv 1706.04599).

    Labels are as sure as so many frames allow, (n + 1) / (n + 2) instead of 1 (Platt 1999): else frames that are all
    told apart would make every score 0 or 1.

    Args:
        logits: Of held-out frames, shape (N,).
        positive: Their labels, bool (N,).
    """
    count = np.where(positive, positive.sum(), (~positive).sum())
    wrong = 1.0 / (count + 2)
    signed = np.where(positive, logits, -logits)
    temperatures = np.geomspace(0.2, 20.0, 200)
    losses = [np.mean(np.logaddexp(0.0, -signed / t) + wrong * signed / t) for t in temperatures]
    return float(temperatures[int(np.argmin(losses))])


def log_loss(logits: np.ndarray, positive: np.ndarray) -> float:
    """Mean cross entropy of logits."""
    return float(np.mean(np.logaddexp(0.0, np.where(positive, -logits, logits))))


def least_of_last(logits: np.ndarray, episodes: Sequence[str], indices: np.ndarray, confirm: int) -> np.ndarray:
    """The least logit of the last ``confirm`` consecutive frames at each frame, (N,): success is confirmed there at
    every threshold up to it. -inf where an episode has too few frames behind it. Rows of an episode are in order;
    those of others may lie between them."""
    found = np.full(len(logits), -np.inf)
    windows: dict[str, list[float]] = {}
    last: dict[str, int] = {}
    for row, (episode, index) in enumerate(zip(episodes, indices, strict=True)):
        follows = last.get(episode) == index - 1
        last[episode] = int(index)
        window = [*windows[episode], float(logits[row])] if follows else [float(logits[row])]
        windows[episode] = window = window[-confirm:]
        if len(window) == confirm:
            found[row] = min(window)
    return found


def choose_threshold(
    confirmable: np.ndarray, positive: np.ndarray, episodes: Sequence[str], target_fpr: float
) -> float:
    """The logit from which a frame looks like success.

    At most ``target_fpr`` of the frames without success would confirm one. Where the classes are further apart than
    that needs, it is the middle between there and what nine in ten episodes of success reach, of those in which enough
    frames in a row could: a margin on both sides.

    Args:
        confirmable: ``least_of_last`` of held-out frames, (N,).
        positive: Their labels, bool (N,).
        episodes: Their episodes.
        target_fpr: Share of frames.
    """
    least = float(np.quantile(confirmable[~positive], 1.0 - target_fpr, method="higher"))
    best: dict[str, float] = {}
    for row in np.flatnonzero(positive):
        best[episodes[row]] = max(best.get(episodes[row], -np.inf), float(confirmable[row]))
    could = [value for value in best.values() if np.isfinite(value)]
    reached = float(np.quantile(could, 0.1, method="lower")) if could else -np.inf
    if not np.isfinite(least):
        return min(reached, 0.0) if np.isfinite(reached) else 0.0
    return (least + reached) / 2 if reached > least else least + 1e-6


def poisson_interval(events: int, hours: float, share: float = 0.95) -> tuple[float, float]:
    """The exact interval (Garwood 1936) of a rate an hour behind ``events`` in ``hours``."""
    if hours <= 0:
        return 0.0, math.inf
    tail = (1.0 - share) / 2

    def below(rate: float, count: int) -> float:
        return sum(math.exp(-rate + k * math.log(rate) - math.lgamma(k + 1)) for k in range(count + 1))

    def solved(wanted: Callable[[float], bool]) -> float:
        low, high = 1e-12, 10.0 * (events + 10)
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if wanted(middle) else (low, middle)
        return low

    least = solved(lambda rate: 1.0 - below(rate, events - 1) < tail) if events else 0.0
    most = solved(lambda rate: below(rate, events) > tail)
    return least / hours, most / hours


@dataclass(frozen=True)
class Confirmed:
    """What confirmation made of one episode.

    Attributes:
        episode: Its name.
        frame: Row of the frame at which success was confirmed, among all rows; None where it never was.
        success: Whether the episode has a frame of success.
        right: Whether the confirmed frame is one.
        seconds_failing: Time of frames without success until then [s].
        short: It has success, but never so many labelled frames of it in a row as confirmation takes.
    """

    episode: str
    frame: int | None
    success: bool
    right: bool
    seconds_failing: float
    short: bool = False


def confirm_episodes(
    looks: np.ndarray,
    positive: np.ndarray,
    episodes: Sequence[str],
    indices: np.ndarray,
    *,
    confirm: int,
    control_hz: float,
    first: int = 0,
) -> list[Confirmed]:
    """Runs the rule of running over labelled episodes: the first ``confirm`` frames in a row that look like success end
    an episode.

    Args:
        looks: Whether each frame looks like success, bool (N,).
        positive: Its label, bool (N,).
        episodes: Its episode; rows of an episode are in order.
        indices: Its number within the episode; a gap begins the row anew.
        confirm: Frames in a row.
        control_hz: Frames a second.
        first: Frame of an episode before which none ends it; where it is set, frame 0 is not looked at either, as
            it comes before the first step.
    """
    rows: dict[str, list[int]] = {}
    for row, episode in enumerate(episodes):
        rows.setdefault(episode, []).append(row)
    found = []
    for episode, own in rows.items():
        streak, last, hit = 0, -2, None
        failing = 0
        for row in own:
            follows = indices[row] == last + 1
            last = int(indices[row])
            streak = (streak + 1 if follows else 1) if looks[row] and (last or not first) else 0
            failing += not positive[row]
            if streak >= confirm and last >= first:
                hit = row
                break
        success = bool(positive[own].any())
        right = hit is not None and bool(positive[hit])
        short = success and _longest(positive[own], indices[own]) < confirm
        found.append(Confirmed(episode, hit, success, right, failing / control_hz, short))
    return found


def _longest(of: np.ndarray, indices: np.ndarray) -> int:
    """How many consecutive frames are true in a row, at most."""
    longest = streak = 0
    for row, value in enumerate(of):
        follows = row and indices[row] == indices[row - 1] + 1
        streak = (streak + 1 if follows else 1) if value else 0
        longest = max(longest, streak)
    return longest
