from dataclasses import dataclass, fields, replace

import pytest

from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from episodes.contract_differences import difference_lines, differences, stored_differences
from transport import records_pb2 as pb

STATE = Feature("observation.state", "float32", (2,), ("x", "y"), ("m", "m"), (-1.0, -1.0), (1.0, 1.0))
FRONT = Feature("observation.images.front", "uint8", (48, 64, 3))
WRIST = replace(FRONT, name="observation.images.wrist")
ACTION = Feature("action", "float32", (1,), ("dx",), ("m",), (-1.0,), (1.0,))


def contract(view=((STATE.name, (), (), 3), (FRONT.name, (0, 8, 48, 48), (32, 32), 2)), **changes) -> Contract:
    interface = Interface("tests", (STATE, FRONT), ACTION, "delta", "+1 open", 10.0, RewardBounds(True, 0.0, 1.0, True))
    interface = replace(interface, **changes)
    names = [f.name for f in interface.observations]
    return Contract(interface, View(tuple(FeatureView(*one) for one in view if one[0] in names)))


def lines(expected, actual):
    return difference_lines(differences(expected, actual))


def wide(size, **changes) -> Feature:
    names = tuple(f"joint_{i}" for i in range(size))
    feature = Feature(STATE.name, "float32", (size,), names, ("rad",) * size, (-1.0,) * size, (1.0,) * size)
    return replace(feature, **changes)


def test_a_contract_does_not_differ_from_what_came_over_the_wire():
    message = pb.Contract.FromString(contract().to_message().SerializeToString())
    assert differences(contract(), Contract.from_message(message)) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"task": "lift"}, "task: expected 'tests', got 'lift'"),
        ({"control_hz": 30.0}, "control_hz: expected 10.0, got 30.0"),
        ({"gripper_sign": "-1 open"}, "gripper_sign: expected '+1 open', got '-1 open'"),
        ({"reward": RewardBounds(True, 0.0, 2.0, True)}, "reward.high: expected 1.0, got 2.0"),
        ({"action": replace(ACTION, high=(2.0,))}, "action.high[0]: expected 1.0, got 2.0"),
        ({"action": replace(ACTION, low=())}, "action.low: expected 1 of them, got 0"),
        (
            {"observations": (replace(STATE, units=("mm", "mm")), FRONT)},
            "observation.state.units[0]: expected 'm', got 'mm' (and 1 more)",
        ),
        (
            {"observations": (replace(STATE, components=("x", "z"), units=("m", "rad")), FRONT)},
            "observation.state.components[1]: expected 'y', got 'z'",
        ),
        (
            {"observations": (STATE,)},
            "observations: expected observation.state, observation.images.front, got observation.state",
        ),
        (
            {"observations": (FRONT, STATE)},
            "observations: expected observation.state, observation.images.front, "
            "got observation.images.front, observation.state",
        ),
        (
            {"observations": (STATE, replace(FRONT, shape=(96, 128, 3)))},
            "observation.images.front.shape: expected (48, 64, 3), got (96, 128, 3)",
        ),
        (
            {"view": ((STATE.name, (), (), 3), (FRONT.name, (), (24, 24), 2))},
            "observation.images.front.crop: expected (0, 8, 48, 48), got none; resize: expected (32, 32), got (24, 24)",
        ),
        (
            {"view": ((STATE.name,), (FRONT.name, (0, 8, 48, 48), (32, 32), 2))},
            "observation.state.stack: expected 3, got 1",
        ),
    ],
)
def test_one_line_names_key_expected_and_actual(changes, text):
    assert lines(contract(), contract(**changes)) == [text]


def test_a_field_that_came_later_is_compared_too():
    @dataclass(frozen=True)
    class Later(Interface):
        gear: str = "low"

    ours, theirs = (
        Contract(Later(**{f.name: getattr(contract().interface, f.name) for f in fields(Interface)}, gear=gear), view)
        for gear, view in (("low", contract().view), ("high", contract().view))
    )
    assert lines(ours, theirs) == ["gear: expected 'low', got 'high'"]


def test_a_state_run_and_one_with_cameras_differ_in_two_lines():
    state = contract(observations=(wide(16),), view=())
    pixels = contract(observations=(wide(18), replace(STATE, name="observation.command"), FRONT, WRIST))
    assert lines(state, pixels) == [
        "observations: expected observation.state, "
        "got observation.state, observation.command, observation.images.front, observation.images.wrist",
        "observation.state.shape: expected (16,), got (18,); stack: expected 1, got 3",
    ]


def test_the_task_comes_first_and_no_line_is_of_what_a_shape_implies():
    insert = contract(task="insert", observations=(wide(26, low=(-9.0,) * 26), FRONT))
    assert lines(contract(observations=(wide(16), FRONT)), insert) == [
        "task: expected 'tests', got 'insert'",
        "observation.state.shape: expected (16,), got (26,)",
    ]


def test_there_are_eight_lines_at_most():
    images = [replace(FRONT, name=f"observation.images.{i}") for i in range(15)]
    other = [replace(image, shape=(8, 8, 3)) for image in images]
    found = lines(contract(observations=tuple(images)), contract(observations=tuple(other)))
    assert len(found) == 9
    assert found[0] == "observation.images.0.shape: expected (48, 64, 3), got (8, 8, 3)"
    assert found[-1] == "and 7 more"


def test_long_values_are_cut():
    (text,) = lines(contract(task="x" * 5000), contract(task="y" * 5000))
    assert len(text) < 500
    many = tuple(replace(FRONT, name=f"observation.images.{i}") for i in range(100))
    assert lines(contract(), contract(observations=many))[0].endswith("observation.images.7 and 92 more")


def test_steps_stored_are_of_use_under_another_stack_alone():
    def seen(stack=2, crop=(0, 8, 48, 48), resize=(32, 32)):
        return contract(view=((STATE.name, (), (), 3), (FRONT.name, crop, resize, stack)))

    assert stored_differences(contract(), seen(stack=5)) == []
    assert [(d.feature, d.key) for d in stored_differences(contract(), seen(crop=(0, 0, 48, 48)))] == [
        (FRONT.name, "crop")
    ]
    assert [d.key for d in stored_differences(contract(), seen(resize=()))] == ["resize"]
