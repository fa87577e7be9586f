"""Records as the bytes they are, in parts: what holds an image need not be copied to become one message.

The fields of a message may stand in any order, and a message is the same in parts. No gRPC is imported here.
"""

from __future__ import annotations

from collections.abc import Buffer, Sequence

from transport import records_pb2 as pb

_STEP = pb.Record.DESCRIPTOR.fields_by_name["step"].number << 3 | 2
_OBSERVATION = pb.Step.DESCRIPTOR.fields_by_name["observation"].number << 3 | 2


def step_record(sequence: int, step: pb.Step, observation: Sequence[Buffer]) -> list[memoryview]:
    """A serialized Record of ``step``, which has no observation, and of the items of its observation, as they are."""
    parts = [memoryview(step.SerializeToString())]
    for item in observation:
        view = memoryview(item)
        parts += (memoryview(delimiter(_OBSERVATION, len(view))), view)
    head = pb.Record(sequence=sequence).SerializeToString() + delimiter(_STEP, sum(map(len, parts)))
    return [memoryview(head), *parts]


def delimiter(tag: int, size: int) -> bytes:
    """What stands before ``size`` bytes of a field with ``tag`` (below 128) in a message."""
    encoded = bytearray((tag,))
    while size > 0x7F:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)
