import pytest

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from policies.spec import PolicySpec, PolicySpecError, build_policy, spec_from_contract
from transport.settings import config_from, settings_of


def contract(*features, views=()):
    return Contract(Interface("t", features, Feature("action", "float32", (3,), low=(-1,), high=(1,))), View(views))


def test_spec_of_a_contract_stacks_every_vector():
    spec = spec_from_contract(
        contract(
            Feature("observation.state", "float32", (5,)),
            Feature("observation.command", "float32", (4,)),
            views=(FeatureView("observation.state", stack=3), FeatureView("observation.command")),
        )
    )
    assert spec.inputs == ("observation.state", "observation.command")
    assert spec.stacks == (3, 1)
    assert spec.sizes == (15, 4)
    assert spec.feature_size == 19
    assert spec.action_size == 3
    assert build_policy(spec).head.out_features == 6


def test_spec_crosses_the_wire_unchanged():
    spec = PolicySpec(inputs=("observation.state",), stacks=(2,), sizes=(6,), action_size=2, hidden=(32, 16))
    assert config_from(PolicySpec, settings_of(spec)) == spec


def test_a_contract_with_images_is_refused():
    state, front = (
        Feature("observation.state", "float32", (5,)),
        Feature("observation.images.front", "uint8", (8, 8, 3)),
    )
    with pytest.raises(PolicySpecError, match=r"trains on vectors only\. Use env\.obs=state\. Got: .*images\.front'\]"):
        spec_from_contract(contract(state, front))
    with pytest.raises(PolicySpecError, match="at least one input"):
        spec_from_contract(contract())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"inputs": ()}, "at least one input"),
        ({"stacks": (1, 2)}, "of one length. Got: 1, 2 and 1"),
        ({"stacks": (4,)}, "'observation.state' must have a size that its stack divides. Got: 6, 4"),
        ({"hidden": ()}, "hidden must be one or more positive sizes"),
        ({"action_size": 0}, "action_size must be at least 1"),
        ({"std_min": 6.0}, "0 < min < max. Got: 6.0 and 5.0"),
    ],
)
def test_impossible_specs_are_refused(changes, text):
    with pytest.raises(PolicySpecError, match=text.replace("(", r"\(")):
        PolicySpec(**({"inputs": ("observation.state",), "stacks": (2,), "sizes": (6,), "action_size": 2} | changes))


def test_an_unknown_kind_is_refused():
    spec = PolicySpec(kind="diffusion", inputs=("s",), stacks=(1,), sizes=(2,))
    with pytest.raises(PolicySpecError, match=r"kind must be 'gaussian'\. Got: 'diffusion'"):
        build_policy(spec)
