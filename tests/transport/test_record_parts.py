"""A record written in parts is the record."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transport import records_pb2 as pb
from transport.record_parts import step_record


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 2**63), st.booleans(), st.floats(-1, 1, width=32))
def test_the_parts_are_the_serialized_record(items, sequence, truncated, value):
    step = pb.Step(episode_id="e" * 32, index=7, chosen=[value], truncated=truncated, policy_version=sequence)
    step.rewards.add(source="env", value=value)
    back = pb.Record.FromString(b"".join(step_record(sequence, step, items)))
    step.observation.extend(items)
    assert back == pb.Record(sequence=sequence, step=step)


def test_an_image_is_not_copied():
    image = np.zeros((128, 128, 3), np.uint8)
    parts = step_record(1, pb.Step(), [image.reshape(-1).data])
    image[:] = 7
    assert bytes(parts[-1]) == b"\7" * image.size
