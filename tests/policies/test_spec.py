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


STATE = Feature("observation.state", "float32", (5,))
FRONT = Feature("observation.images.front", "uint8", (120, 160, 3))
WRIST = Feature("observation.images.wrist", "uint8", (64, 64, 3))
VIEWS = (
    FeatureView("observation.images.front", crop=(0, 20, 120, 120), resize=(84, 84), stack=3),
    FeatureView("observation.images.wrist", resize=(84, 84)),
)


def test_spec_of_a_contract_has_its_images_as_they_are_stored():
    spec = spec_from_contract(contract(STATE, FRONT, WRIST, views=VIEWS))
    assert spec.inputs == ("observation.state",)
    assert spec.images == ("observation.images.front", "observation.images.wrist")
    assert spec.image_stacks == (3, 1)
    assert (spec.image_heights, spec.image_widths) == ((84, 84), (84, 84))
    assert (spec.encoder, spec.encoder_size, spec.vector_size, spec.feature_size) == ("small", 64, 5, 69)
    assert spec.frames == {"observation.state": 1, "observation.images.front": 3, "observation.images.wrist": 1}
    assert spec.image_shapes["observation.images.front"] == (84, 84, 9)
    assert config_from(PolicySpec, settings_of(spec)) == spec


@pytest.mark.parametrize(
    ("encoder", "asked", "size"),
    [
        ("small", 0, 64),
        ("small", 32, 32),
        ("lerobot", 0, 512),
        ("lerobot", 64, 64),
        ("drqv2", 0, 32 * 35 * 35),
        ("drqv2", 64, 32 * 35 * 35),
    ],
)
def test_an_encoder_has_a_size_of_its_own_unless_one_is_asked_for(encoder, asked, size):
    views = (VIEWS[1], FeatureView("observation.images.front", resize=(84, 84)))
    seen = contract(STATE, FRONT, WRIST, views=views)
    assert spec_from_contract(seen, encoder=encoder, encoder_size=asked).encoder_size == size


def test_drqv2_has_a_map_for_each_size_of_camera():
    spec = spec_from_contract(contract(WRIST, FRONT), kind="deterministic", encoder="drqv2")
    assert spec.inputs == ()
    assert spec.encoder_size == 32 * (25 * 25 + 53 * 73)


def test_a_pretrained_encoder_is_named_by_the_hash_of_its_file():
    spec = spec_from_contract(contract(STATE, FRONT, WRIST), encoder="resnet18", encoder_sha256="ab" * 32)
    assert (spec.encoder_size, spec.encoder_sha256) == (512, "ab" * 32)
    with pytest.raises(PolicySpecError, match=r"'resnet18' is pretrained: .*algorithm\.encoder_weights\. Got: ''"):
        spec_from_contract(contract(STATE, FRONT), encoder="resnet18")
    with pytest.raises(PolicySpecError, match="'small' is not pretrained"):
        spec_from_contract(contract(STATE, FRONT), encoder_sha256="ab" * 32)


def test_without_images_the_settings_of_the_encoder_are_left_out():
    plain = spec_from_contract(contract(STATE))
    assert spec_from_contract(contract(STATE), encoder="resnet18", encoder_size=5, encoder_sha256="x") == plain
    with pytest.raises(PolicySpecError, match="at least one input or image"):
        spec_from_contract(contract())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image_widths": ()}, "of one length. Got: 1, 1, 1, 0"),
        ({"encoder": ""}, r"encoder must be one of \[.*\]. Got: ''"),
        ({"encoder": "vit"}, "Got: 'vit'"),
        ({"image_stacks": (0,)}, "image_stacks must be at least 1"),
        ({"image_heights": (3,)}, "image 'c' of 3 x 64 px is too small for encoder 'small'"),
        (
            {"encoder": "keypoints", "image_heights": (24,), "image_widths": (24,)},
            "image 'c' of 24 x 24 px is too small for encoder 'keypoints'",
        ),
        ({"encoder_size": 0}, "encoder_size must be positive"),
        ({"encoder": "drqv2"}, "encoder_size of 'drqv2' must be 20000, its flattened map. Got: 64"),
        ({"images": (), "image_stacks": (), "image_heights": (), "image_widths": ()}, "has no encoder. Got: 'small'"),
        (
            {
                "encoder": "lerobot",
                "images": ("c", "d"),
                "image_stacks": (1, 1),
                "image_heights": (64, 64),
                "image_widths": (64, 96),
            },
            "'lerobot' needs images of one size and stack",
        ),
        (
            {
                "encoder": "lerobot",
                "encoder_size": 65,
                "images": ("c", "d"),
                "image_stacks": (1, 1),
                "image_heights": (64, 64),
                "image_widths": (64, 64),
            },
            "a multiple of the 2 image",
        ),
    ],
)
def test_impossible_images_are_refused(changes, text):
    fields = {
        "inputs": ("observation.state",),
        "stacks": (1,),
        "sizes": (5,),
        "images": ("c",),
        "image_stacks": (1,),
        "image_heights": (64,),
        "image_widths": (64,),
        "encoder": "small",
    }
    PolicySpec(**fields)
    with pytest.raises(PolicySpecError, match=text):
        PolicySpec(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"inputs": ()}, "at least one input or image"),
        ({"stacks": (1, 2)}, "of one length. Got: 1, 2 and 1"),
        ({"stacks": (4,)}, "'observation.state' must have a size that its stack divides. Got: 6, 4"),
        ({"hidden": ()}, "hidden must be one or more positive sizes"),
        ({"action_size": 0}, "action_size must be at least 1"),
        ({"trunk_size": 0}, "trunk_size must be at least 1"),
        ({"std_min": 6.0}, "0 < min < max. Got: 6.0 and 5.0"),
    ],
)
def test_impossible_specs_are_refused(changes, text):
    with pytest.raises(PolicySpecError, match=text.replace("(", r"\(")):
        PolicySpec(**({"inputs": ("observation.state",), "stacks": (2,), "sizes": (6,), "action_size": 2} | changes))


def test_an_unknown_kind_is_refused():
    with pytest.raises(
        PolicySpecError, match=r"kind must be one of \('gaussian', 'deterministic'\)\. Got: 'diffusion'"
    ):
        PolicySpec(kind="diffusion", inputs=("s",), stacks=(1,), sizes=(2,))
