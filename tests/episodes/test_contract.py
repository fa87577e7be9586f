from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes.contract import (
    Contract,
    ContractError,
    Feature,
    FeatureView,
    Interface,
    RewardBounds,
    View,
)
from transport import records_pb2 as pb

STATE = Feature(
    "observation.state", "float32", (2,), ("x", "y"), ("m", "m"), (-1.0, float("-inf")), (1.0, float("inf"))
)
FRONT = Feature("observation.images.front", "uint8", (48, 64, 3))
ACTION = Feature("action", "float32", (1,), ("dx",), ("m",), (-1.0,), (1.0,))


def contract(**changes) -> Contract:
    interface = Interface("tests", (STATE, FRONT), ACTION, "delta", "+1 open", 10.0, RewardBounds(True, 0.0, 1.0, True))
    view = View((FeatureView(STATE.name, stack=3), FeatureView(FRONT.name, (0, 8, 48, 48), (32, 32), 2)))
    interface = replace(interface, **changes)
    names = [f.name for f in interface.observations]
    return Contract(interface, View(tuple(f for f in view.features if f.name in names)))


def test_the_message_is_the_contract():
    message = pb.Contract.FromString(contract().to_message().SerializeToString())
    back = Contract.from_message(message)
    assert back == contract()
    assert back.interface_fingerprint == contract().interface_fingerprint
    assert back.view_fingerprint == contract().view_fingerprint


floats = st.floats(allow_nan=False)


@given(
    st.lists(st.tuples(st.text("xyz", min_size=1), floats, floats), min_size=1, max_size=5),
    st.text(max_size=20),
    floats,
    st.tuples(st.booleans(), floats, floats, st.booleans()),
)
def test_any_contract_survives_the_wire(components, task, control_hz, bounds):
    names, low, high = (tuple(column) for column in zip(*components, strict=True))
    state = Feature("observation.state", "float32", (len(names),), names, ("",) * len(names), low, high)
    before = Contract(Interface(task, (state,), ACTION, "", "", control_hz, RewardBounds(*bounds)), View(()))
    after = Contract.from_message(pb.Contract.FromString(before.to_message().SerializeToString()))
    assert after == before
    assert after.interface_fingerprint == before.interface_fingerprint


def test_the_fingerprints_are_of_their_own_part():
    other_interface = contract(control_hz=30.0)
    assert other_interface.interface_fingerprint != contract().interface_fingerprint
    assert other_interface.view_fingerprint == contract().view_fingerprint
    other_view = Contract(contract().interface, View((FeatureView(STATE.name, stack=1),)))
    assert other_view.interface_fingerprint == contract().interface_fingerprint
    assert other_view.view_fingerprint != contract().view_fingerprint


def test_stored_features_have_the_size_after_crop_and_resize():
    assert [(f.name, f.shape) for f in contract().stored] == [(STATE.name, (2,)), (FRONT.name, (32, 32, 3))]
    assert contract().interface.feature(FRONT.name).shape == (48, 64, 3)
    cropped = Contract(contract().interface, View((FeatureView(FRONT.name, (8, 0, 40, 60)),)))
    assert cropped.stored == (STATE, replace(FRONT, shape=(40, 60, 3)))
    assert Contract(contract().interface, View(())).stored == (STATE, FRONT)
    assert cropped.view.of(STATE.name) == FeatureView(STATE.name)


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (
            FeatureView(FRONT.name, (0, 0, 49, 64)),
            r"front\.crop: expected .* within the 48 x 64 image, got \(0, 0, 49, 64",
        ),
        (FeatureView(FRONT.name, (1, 2, 3)), r"front\.crop: expected top, left, height, width .*, got \(1, 2, 3\)"),
        (FeatureView(FRONT.name, (0, 0, 0, 4)), r"front\.crop: expected .*, got \(0, 0, 0, 4\)"),
        (FeatureView(FRONT.name, (), (4,)), r"front\.resize: expected height, width, got \(4,\)"),
        (FeatureView(FRONT.name, (), (4, 0)), r"front\.resize: expected height, width, got \(4, 0\)"),
        (
            FeatureView(STATE.name, (0, 0, 1, 1)),
            r"state\.crop: expected none, since it is no image, got \(0, 0, 1, 1\)",
        ),
        (FeatureView(STATE.name, (), (1, 1)), r"state\.resize: expected none, since it is no image"),
        (FeatureView(STATE.name, stack=0), r"state\.stack: expected at least 1, got 0"),
        (FeatureView("observation.images.top"), r"no observation feature 'observation\.images\.top'\. There are:"),
    ],
)
def test_a_view_that_is_none_of_the_interface_is_refused(view, text):
    with pytest.raises(ContractError, match=text):
        Contract(contract().interface, View((view,)))
    message = contract().to_message()
    del message.view.features[:]
    message.view.features.add(name=view.name, crop=view.crop, resize=view.resize, stack=view.stack)
    with pytest.raises(ContractError, match=text):
        Contract.from_message(message)


def test_crop_size_and_stack_are_in_the_fingerprint_of_the_view():
    def seen(**changes):
        return Contract(contract().interface, View((replace(contract().view.features[1], **changes),)))

    assert len({seen(**c).view_fingerprint for c in ({}, {"crop": ()}, {"resize": ()}, {"stack": 1})}) == 4


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (("observation.state", "float64", (2,)), r"must have dtype float32 or uint8\. Got: 'float64'"),
        (
            ("observation.images.front", "float32", (4, 4, 3)),
            r"must be uint8 of shape \(height, width, 3\)\. Got: float32",
        ),
        (("observation.images.front", "uint8", (3, 4, 4)), r"Got: uint8 \(3, 4, 4\)"),
        (("observation.state", "float32", (2, 2)), r"'observation\.state' must be a vector\. Got shape: \(2, 2\)"),
    ],
)
def test_a_malformed_feature_is_refused(fields, text):
    with pytest.raises(ContractError, match=text):
        Feature(*fields)


def test_an_unknown_feature_names_those_there_are():
    with pytest.raises(ContractError, match=r"no observation feature 'depth'\. There are: \['observation\.state', 'o"):
        contract().interface.feature("depth")


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (RewardBounds(), None),
        (RewardBounds(True, 0.0, 1.0, True), (0.0, 1.0)),
        (RewardBounds(True, -2.0, -1.0, False), (-4.0, 0.0)),
        (RewardBounds(True, 0.5, 1.0, True), (0.0, 1.0)),
    ],
)
def test_bounds_of_the_return(bounds, expected):
    assert bounds.returns(0.5) == expected
