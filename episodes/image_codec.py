"""Lossless compression of the images of records on the wire: each row less the one above it, then zlib.

The filter is PNG's "up", and the strategy run-length encoding: of what a camera sees, noise included, this leaves less
than zlib alone does, in half the time. What is logged and acknowledged is the record as it was before.
"""

from __future__ import annotations

import zlib
from collections.abc import Buffer, Iterable, Sequence
from typing import Any

import numpy as np

from episodes.contract import Feature
from episodes.spool_position import RecordError
from transport import records_pb2 as pb

_LEVEL, _MEMORY = 1, 9


class ImageCodec:
    """Compresses and restores the image items of observations of one contract; others stay as they are.

    Args:
        features: Stored features of the contract, in the order of the wire.
    """

    def __init__(self, features: Sequence[Feature]):
        self._images = tuple(
            (place, f.name, f.nbytes, f.shape[1] * f.shape[2]) for place, f in enumerate(features) if f.is_image
        )
        self._count = len(features)
        self._nbytes = sum(f.nbytes for f in features)

    def compress(self, payload: Buffer) -> bytes:
        """A serialized record with its images compressed."""
        payload = bytes(payload)
        record = pb.Record.FromString(payload)
        observation = _observation(record)
        if observation is None or len(observation) != self._count:
            return payload  # none, as in an interrupted step
        for place, _, _, row_bytes in self._images:
            observation[place] = _compressed(observation[place], row_bytes)
        return record.SerializeToString()

    def restore(self, payloads: Iterable[Buffer], most_bytes: int) -> list[bytes]:
        """Serialized records as they were before compression.

        Args:
            payloads: Of one batch.
            most_bytes: Bound of the bytes that its observations have together, restored.

        Raises:
            RecordError: where an image is no zlib stream of exactly its size, or the bound is passed.
            DecodeError: where a payload is no record.
        """
        restored, size = [], 0
        for index, payload in enumerate(payloads):
            record = pb.Record.FromString(payload)
            observation = _observation(record)
            if observation is not None and len(observation) == self._count:
                size += self._nbytes
                if size > most_bytes:
                    raise RecordError(f"a batch must have at most {most_bytes} bytes of observations. Got: more")
                for place, name, nbytes, row_bytes in self._images:
                    try:
                        observation[place] = _restored(observation[place], nbytes, row_bytes)
                    except (zlib.error, ValueError) as error:
                        raise RecordError(
                            f"records[{index}] (sequence {record.sequence}): observation {name!r} must be {nbytes} "
                            f"bytes, compressed with zlib. Got: {error}"
                        ) from None
            restored.append(record.SerializeToString())
        return restored


def _observation(record: pb.Record) -> Any:
    """The observation of a step or a start, to be changed in place; None for other records."""
    kind = record.WhichOneof("body")
    return getattr(record, kind).observation if kind in ("step", "start") else None


def _compressed(image: bytes, row_bytes: int) -> bytes:
    rows = np.frombuffer(image, np.uint8).reshape(-1, row_bytes)
    less = rows.copy()
    less[1:] -= rows[:-1]
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, _MEMORY, zlib.Z_RLE)
    return stream.compress(less) + stream.flush()


def _restored(data: bytes, nbytes: int, row_bytes: int) -> bytes:
    """Never holds more than ``nbytes`` + 1 bytes, whatever ``data`` says."""
    stream = zlib.decompressobj()
    rows = stream.decompress(data, nbytes + 1)
    if len(rows) < nbytes:
        raise ValueError(f"{len(rows)} bytes")
    if len(rows) > nbytes or stream.unused_data:
        raise ValueError("more")
    if not stream.eof:
        raise ValueError("a stream that does not end")
    return np.add.accumulate(np.frombuffer(rows, np.uint8).reshape(-1, row_bytes), axis=0, dtype=np.uint8).tobytes()
