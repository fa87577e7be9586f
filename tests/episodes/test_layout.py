import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from episodes.contract import Feature
from episodes.layout import LayoutError, ObservationLayout

IMAGE = "observation.images.front"
STATE = "observation.state"


def layout(state_size: int = 3, height: int = 4, width: int = 5) -> ObservationLayout:
    return ObservationLayout([Feature(STATE, "float32", (state_size,)), Feature(IMAGE, "uint8", (height, width, 3))])


def observation(**changes):
    return {STATE: np.arange(3, dtype=np.float32), IMAGE: np.zeros((4, 5, 3), np.uint8), **changes}


@given(st.data(), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
@settings(deadline=None)
def test_unpack_is_the_inverse_of_pack(data, size, height, width):
    there = layout(size, height, width)
    state = data.draw(hnp.arrays(np.float32, (size,)))
    image = data.draw(hnp.arrays(np.uint8, (height, width, 3)))
    packed = there.pack({IMAGE: image, STATE: state})
    assert [len(item) for item in packed] == [4 * size, 3 * height * width] == list(there.sizes)
    assert there.nbytes == sum(there.sizes)
    back = there.unpack(packed)
    assert list(back) == [STATE, IMAGE]
    np.testing.assert_array_equal(back[STATE], state)
    np.testing.assert_array_equal(back[IMAGE], image)


def test_bytes_are_little_endian_in_c_order():
    packed = layout().pack(observation(**{STATE: np.array([1, 0, 0], np.float32)}))
    assert packed[0][:4] == b"\x00\x00\x80\x3f"
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert layout().pack(observation(**{IMAGE: np.asfortranarray(image)}))[1] == bytes(range(60))


def test_unpack_copies_nothing():
    packed = layout().pack(observation())
    unpacked = layout().unpack(packed)
    assert not unpacked[IMAGE].flags.writeable
    assert not unpacked[IMAGE].flags.owndata


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({STATE: np.zeros(4, np.float32)}, r"must be float32 of shape \(3,\)\. Got: float32 of shape \(4,\)"),
        ({STATE: np.zeros(3)}, r"'observation\.state' must be float32 of shape \(3,\)\. Got: float64 of shape \(3,\)"),
        (
            {IMAGE: np.zeros((3, 4, 5), np.uint8)},
            r"front' must be uint8 of shape \(4, 5, 3\)\. Got: uint8 of .*\(3, 4,",
        ),
        ({"reward": np.zeros(1)}, r"observation has \['reward'\], which the contract does not name"),
    ],
)
def test_pack_names_key_expected_and_actual(changes, text):
    with pytest.raises(LayoutError, match=text):
        layout().pack(observation(**changes))


def test_pack_names_a_missing_key():
    with pytest.raises(LayoutError, match=r"observation lacks 'observation\.images\.front'\. It has: \['obs"):
        layout().pack({STATE: np.zeros(3, np.float32)})


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([], r"observation must have 2 items \(observation\.state, observation\.images\.front\)\. Got: 0"),
        ([bytes(12), bytes(59)], r"front' must have 60 bytes \(uint8 of shape \(4, 5, 3\)\)\. Got: 59"),
    ],
)
def test_unpack_names_wrong_sizes(items, text):
    with pytest.raises(LayoutError, match=text):
        layout().unpack(items)
