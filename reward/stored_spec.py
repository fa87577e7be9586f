"""What a stored classifier says of itself, every field checked: files come from anywhere, and robots act on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from episodes.contract import IMAGE_PREFIX
from reward.classifier import Calibration, ClassifierSpec
from reward.config import RewardError
from reward.gates import check_gate
from reward.network import ENCODERS, NetworkSpec
from reward.preprocessing import CameraFrames, Preprocessing

_MOST_PIXELS = 8192
_MOST_FEATURES = 4096
_Rule = tuple[str, Callable[[Any], bool]]


def _whole(low: int, high: int) -> _Rule:
    return f"a whole number from {low} to {high}", lambda v: type(v) is int and low <= v <= high


def _between(low: float, high: float) -> _Rule:
    return f"a number above {low} and below {high}", lambda v: type(v) in (int, float) and low < v < high


def _numbers(least: int, *counts: int) -> _Rule:
    inner, holds = _whole(least, _MOST_PIXELS)
    lengths = " or ".join(map(str, counts))
    return f"a list of {lengths}, each {inner}", lambda v: _listed(v, holds) and len(v) in counts


def _listed(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(holds, value))


def _ascending(value: Any) -> bool:
    finite = _listed(value, lambda v: type(v) in (int, float) and math.isfinite(v))
    return finite and len(value) != 1 and all(a <= b for a, b in pairwise(value))


_TEXT: _Rule = "text", lambda v: isinstance(v, str)
_QUANTILES: _Rule = "a list of finite numbers, none below the one before, at least two or none", _ascending
_SPEC: dict[str, _Rule] = {"name": _TEXT, "task": _TEXT}
_NETWORK: dict[str, _Rule] = {
    "cameras": _whole(1, 64),
    "encoder": (f"one of {', '.join(ENCODERS)}", lambda v: v in ENCODERS),
    "encoder_sha256": _TEXT,
    "projection": _whole(1, _MOST_FEATURES),
    "hidden": _whole(1, _MOST_FEATURES),
    "dropout": ("a number from 0, below 1", lambda v: type(v) in (int, float) and 0 <= v < 1),
}
_CAMERA: dict[str, _Rule] = {
    "name": (f"text beginning with {IMAGE_PREFIX}", lambda v: isinstance(v, str) and v.startswith(IMAGE_PREFIX)),
    "height": _whole(1, _MOST_PIXELS),
    "width": _whole(1, _MOST_PIXELS),
    "crop": _numbers(0, 0, 4),
    "resize": _numbers(1, 0, 2),
}
_SIZE: dict[str, _Rule] = {"size": _numbers(1, 2)}
_CALIBRATION: dict[str, _Rule] = {
    "temperature": _between(0.01, 100.0),
    "threshold": _between(0.0, 1.0),
    "confirm": _whole(1, 1_000_000),
    "negative_logits": _QUANTILES,
    "positive_logits": _QUANTILES,
    "gates": ("a list of conditions", lambda v: _listed(v, lambda gate: isinstance(gate, str))),
    "looks": ("a list of finite numbers", lambda v: _listed(v, lambda x: type(x) in (int, float) and math.isfinite(x))),
}


def spec_of(values: Any) -> ClassifierSpec:
    """The spec in ``values``, as JSON gives it. Raises RewardError naming the field, what it must be and what it is."""
    own = _fields(values, _SPEC, "", others=("network", "preprocessing", "calibration"))
    seen = values.get("preprocessing")
    size = _fields(seen, _SIZE, "preprocessing.", others=("cameras",))["size"]
    listed = seen.get("cameras")
    if not isinstance(listed, list) or not listed:
        raise RewardError(f"preprocessing.cameras must be a list of cameras. Got: {_shown(listed)}")
    cameras = tuple(
        CameraFrames(**_fields(camera, _CAMERA, f"preprocessing.cameras.{number}."))
        for number, camera in enumerate(listed)
    )
    if len({camera.name for camera in cameras}) < len(cameras):
        raise RewardError(f"preprocessing.cameras must differ. Got: {', '.join(camera.name for camera in cameras)}")
    network = NetworkSpec(**_fields(values.get("network"), _NETWORK, "network."))
    if network.cameras != len(cameras):
        raise RewardError(f"network.cameras must be {len(cameras)}, as preprocessing.cameras. Got: {network.cameras}")
    calibration = Calibration(**_fields(values.get("calibration"), _CALIBRATION, "calibration."))
    if bool(calibration.negative_logits) != bool(calibration.positive_logits):
        raise RewardError("calibration.negative_logits and positive_logits must both be given or both be empty")
    if len(calibration.looks) not in (0, 4 * len(cameras)):
        raise RewardError(
            f"calibration.looks must have four numbers for each of {len(cameras)} camera(s), or none. "
            f"Got: {len(calibration.looks)}"
        )
    for gate in calibration.gates:
        check_gate(gate, "calibration.gates")
    return ClassifierSpec(**own, network=network, preprocessing=Preprocessing(cameras, size), calibration=calibration)


def _fields(values: Any, rules: dict[str, _Rule], where: str, others: Sequence[str] = ()) -> dict[str, Any]:
    """The fields that are there, lists as tuples; what may be left out is left to the dataclass."""
    if not isinstance(values, dict):
        raise RewardError(f"{where.rstrip('.') or 'the spec'} must be an object with fields. Got: {_shown(values)}")
    if unknown := sorted(values.keys() - rules.keys() - set(others)):
        raise RewardError(f"{where}{unknown[0]} is no field of this version. There are: {', '.join(rules)}")
    for key, (expected, holds) in rules.items():
        if key in values and not holds(values[key]):
            raise RewardError(f"{where}{key} must be {expected}. Got: {_shown(values[key])}")
    return {key: tuple(values[key]) if isinstance(values[key], list) else values[key] for key in rules if key in values}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
