"""What a stored classifier says of itself is checked field by field before anything acts on it."""

import json

import pytest
from safetensors.torch import load, save

from reward.config import RewardError
from reward.storage import load_classifier
from tests.reward.squares import CAMERAS, constant_classifier


def stored(path="", value=None):
    """The bytes of a classifier in whose spec ``value`` is at ``path``."""
    data = constant_classifier(CAMERAS, 1.0, negative_logits=(-3.0, -2.0), positive_logits=(1.0, 2.0))
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    spec = json.loads(metadata["spec"])
    *parts, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    holder = spec
    for part in parts:
        holder = holder[part]
    if path:
        holder[last] = value
    return save(load(data), metadata=metadata | {"spec": json.dumps(spec)})


def test_what_was_stored_is_read_again():
    assert load_classifier(stored()).calibration.negative_logits == (-3.0, -2.0)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("calibration.threshold", 0, r"a number above 0.0 and below 1.0. Got: 0"),
        ("calibration.threshold", 1.0, r"a number above 0.0 and below 1.0. Got: 1.0"),
        ("calibration.threshold", "0.5", r"a number above 0.0 and below 1.0. Got: '0.5'"),
        ("calibration.threshold", float("nan"), r"a number above 0.0 and below 1.0. Got: nan"),
        ("calibration.temperature", "x", r"a number above 0.01 and below 100.0. Got: 'x'"),
        ("calibration.temperature", 1e300, r"a number above 0.01 and below 100.0. Got: 1e\+300"),
        ("calibration.confirm", True, r"a whole number from 1 to 1000000. Got: True"),
        (
            "calibration.negative_logits",
            [1.0, 0.0],
            r"a list of finite numbers, none below the one before, at least two or none. Got: \[1.0, 0.0\]",
        ),
        ("calibration.positive_logits", [0.0, "1"], r"a list of finite numbers"),
        ("calibration.positive_logits", [0.0, float("inf")], r"a list of finite numbers"),
        ("calibration.gates", "tool.z>0.06", r"a list of conditions. Got: 'tool.z>0.06'"),
        ("calibration.gates", [3], r"a list of conditions. Got: \[3\]"),
        ("preprocessing.size", [0, 0], r"a list of 2, each a whole number from 1 to 8192. Got: \[0, 0\]"),
        ("preprocessing.cameras.0.width", 10**9, r"a whole number from 1 to 8192. Got: 1000000000"),
        ("preprocessing.cameras.1.crop", [1], r"a list of 0 or 4, each a whole number from 0 to 8192. Got: \[1\]"),
        ("preprocessing.cameras.1.name", "wrist", r"text beginning with observation.images.. Got: 'wrist'"),
        ("preprocessing.cameras", [], r"a list of cameras. Got: \[\]"),
        ("preprocessing", None, r"an object with fields. Got: None"),
        ("network.hidden", -1, r"a whole number from 1 to 4096. Got: -1"),
        ("network.cameras", 1, r"2, as preprocessing.cameras. Got: 1"),
        ("network.dropout", float("nan"), r"a number from 0, below 1. Got: nan"),
        ("network.encoder", ["small"], r"one of small, resnet10, resnet18. Got: \['small'\]"),
        ("name", 7, r"text. Got: 7"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_name(path, value, expected):
    with pytest.raises(RewardError, match=rf"the classifier cannot be read: {path} must be {expected}"):
        load_classifier(stored(path, value))


def test_gates_and_unknown_fields_are_refused_by_name():
    with pytest.raises(RewardError, match=r"calibration.gates must hold conditions like tool.z>0.06. Got: 'tool.z'"):
        load_classifier(stored("calibration.gates", ["tool.z"]))
    with pytest.raises(RewardError, match=r"calibration.gates needs a number after >. Got: 'tool.z>1e999'"):
        load_classifier(stored("calibration.gates", ["tool.z>1e999"]))
    with pytest.raises(RewardError, match=r"network.colour is no field of this version"):
        load_classifier(stored("network.colour", 1))


def test_a_header_nested_without_end_and_a_network_that_gives_no_number_are_refused():
    header = b"[" * 200_000
    with pytest.raises(RewardError, match="cannot be read: maximum recursion depth exceeded"):
        load_classifier(len(header).to_bytes(8, "little") + header)
    huge = load(data := stored())
    huge["head.2.bias"].fill_(3e38)
    huge["head.0.bias"].fill_(3e38)
    huge["head.2.weight"].fill_(3e38)
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    with pytest.raises(RewardError, match=r"must give one finite logit for black frames. Got: "):
        load_classifier(save(huge, metadata=metadata))
