"""What is read and written by hand is what protobuf reads and writes."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from transport import records_pb2 as records
from transport import service_pb2 as pb
from transport.push import decode_batch, encode_batch

PAYLOADS = st.lists(
    st.builds(
        lambda sequence, item: records.Record(sequence=sequence, step=records.Step(observation=[item])),
        st.integers(0, 2**64 - 1),
        st.binary(max_size=400),
    ),
    max_size=5,
)
HEADS = st.builds(
    pb.RecordBatch, run_id=st.text(max_size=200), spool_id=st.text(max_size=5), compression=st.integers(0, 1)
)


@given(head=HEADS, made=PAYLOADS)
def test_both_ways_agree_with_protobuf(head, made):
    whole = pb.RecordBatch()
    whole.CopyFrom(head)
    whole.records.extend(made)
    encoded = encode_batch(head, [record.SerializeToString() for record in made])
    assert pb.RecordBatch.FromString(encoded) == whole
    for data in (encoded, whole.SerializeToString()):
        batch = decode_batch(data)
        assert batch.head == head
        assert [records.Record.FromString(record) for record in batch.records] == made


@given(data=st.binary(max_size=60))
@example(data=b"\x15\x80\x80\x80\x80")  # four fixed bytes, which would be no whole varint
def test_bytes_are_no_batch_here_where_they_are_none_to_protobuf(data):
    """Records are not looked into here: what is in one may still be none."""
    try:
        expected = pb.RecordBatch.FromString(data)
    except DecodeError:
        expected = None
    try:
        batch = decode_batch(data)
        found = [records.Record.FromString(record) for record in batch.records]
    except DecodeError:
        assert expected is None
        return
    if expected is not None:
        assert found == list(expected.records)
        assert batch.head.run_id == expected.run_id


@given(head=HEADS, made=PAYLOADS, cut=st.integers(1, 30))
def test_a_batch_that_is_cut_short_is_never_read_past_its_end(head, made, cut):
    data = encode_batch(head, [record.SerializeToString() for record in made])
    shorter = data[: max(0, len(data) - cut)]
    try:
        expected = pb.RecordBatch.FromString(shorter)
    except DecodeError:
        with pytest.raises(DecodeError):
            [records.Record.FromString(record) for record in decode_batch(shorter).records]
        return
    assert [records.Record.FromString(record) for record in decode_batch(shorter).records] == list(expected.records)


def test_fields_of_a_later_version_do_no_harm():
    record = records.Record(sequence=3)
    head = pb.RecordBatch(run_id="r", records=[record])
    for unknown in (b"\x9a\x06\x03new", b"\x99\x06" + bytes(8), b"\x98\x06\x05"):
        batch = decode_batch(unknown + head.SerializeToString())
        assert batch.head.run_id == "r"
        assert [records.Record.FromString(one) for one in batch.records] == [record]
