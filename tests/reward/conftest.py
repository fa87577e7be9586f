import pytest

from tests.reward.squares import square_frames


@pytest.fixture
def frames():
    return square_frames(8, 20)
