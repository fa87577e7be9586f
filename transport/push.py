"""Batches of records as the bytes they are: neither a spool's sender nor the log's writer need parse them all at once.

``RecordBatch`` is the message; what is here reads and writes it without a copy of every image for every layer.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any, NamedTuple

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from transport import service_pb2 as pb
from transport.record_parts import delimiter

SERVICE = "tandem.v1.Learner"
_TAG = pb.RecordBatch.DESCRIPTOR.fields_by_name["records"].number << 3 | 2
_VARINT, _BYTES = 0, 2  # wire types


class ReceivedBatch(NamedTuple):
    """A RecordBatch.

    Attributes:
        head: All of it but the records.
        records: Each a serialized Record.
    """

    head: pb.RecordBatch
    records: list[memoryview]


def push_call(channel: grpc.Channel) -> grpc.StreamStreamMultiCallable:
    """``LearnerStub(channel).Push``, for batches that are serialized already."""
    return channel.stream_stream(f"/{SERVICE}/Push", None, pb.Acknowledgement.FromString)


def add_push(server: grpc.aio.Server, push: Callable[[AsyncIterable[bytes], Any], Awaitable[None]]) -> None:
    """Makes ``push`` the Push of a server, which gets batches as they came. To be called after the service is added."""
    method = grpc.stream_stream_rpc_method_handler(push, None, pb.Acknowledgement.SerializeToString)
    server.add_registered_method_handlers(SERVICE, {"Push": method})


def encode_batch(head: pb.RecordBatch, records: Iterable[bytes | memoryview]) -> bytes:
    """A serialized RecordBatch: all that ``head`` says, and each of the serialized records."""
    parts: list[bytes | memoryview] = [head.SerializeToString()]
    for record in records:
        parts += (delimiter(_TAG, len(record)), record)
    return b"".join(parts)


def decode_batch(data: bytes) -> ReceivedBatch:
    """The records are views of ``data``, not looked into. Raises DecodeError where it is no RecordBatch."""
    view, rest, records = memoryview(data), bytearray(), []
    place, end = 0, len(data)
    try:
        while place < end:
            start = place
            tag, place = _read_varint(data, place)
            if tag & 7 not in (_VARINT, _BYTES):
                return _parsed(data)
            size, place = _read_varint(data, place)
            if tag & 7 == _BYTES:
                place += size
            if tag == _TAG:
                records.append(view[place - size : place])
            else:
                rest += view[start:place]
    except IndexError:
        place = end + 1
    if place > end:
        raise DecodeError("a RecordBatch that is cut short")
    return ReceivedBatch(pb.RecordBatch.FromString(bytes(rest)), records)


def _parsed(data: bytes) -> ReceivedBatch:
    """The slow way, for fields of a later version."""
    batch = pb.RecordBatch.FromString(data)
    records = [memoryview(record.SerializeToString()) for record in batch.records]
    del batch.records[:]
    return ReceivedBatch(batch, records)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise IndexError
