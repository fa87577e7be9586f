"""An observation as raw bytes: one item per stored feature of the contract, in its order, little-endian, C order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from episodes.contract import Feature

MAX_MAGNITUDE = 1e18
"""Of a number in an observation, and of a reward: the square of a greater one leaves float32."""


class LayoutError(ValueError):
    """An observation that is not what the contract says."""


class ObservationLayout:
    """Packs and unpacks observations of given features, which are ``Contract.stored``.

    Attributes:
        names: Feature names, in the order of the wire, the log and the spool.
        sizes: Bytes of each feature.
        nbytes: Bytes of one observation.
    """

    def __init__(self, features: Iterable[Feature]):
        features = tuple(features)
        self.names = tuple(f.name for f in features)
        self.sizes = tuple(f.nbytes for f in features)
        self.nbytes = sum(self.sizes)
        self._count = len(self.names)
        self._numbers = tuple((place, f.name) for place, f in enumerate(features) if f.dtype == "float32")
        self._features = tuple(
            (f.name, tuple(f.shape), np.dtype(f.dtype).newbyteorder("<"), np.dtype(f.dtype), f.nbytes) for f in features
        )

    def pack(self, observation: Mapping[str, np.ndarray]) -> list[bytes]:
        """One item per feature. Raises LayoutError naming the key, the expected and the actual shape or dtype."""
        return [bytes(view) for view in self.views(observation)]

    def views(self, observation: Mapping[str, np.ndarray]) -> list[memoryview]:
        """What ``pack`` gives without a copy of it, valid until the arrays change. Raises LayoutError like it."""
        views = []
        for name, shape, wire, dtype, _ in self._features:
            value = observation.get(name)
            if value is None:
                raise LayoutError(f"observation lacks {name!r}. It has: {sorted(observation)}")
            if value.shape != shape or value.dtype != dtype:
                raise LayoutError(
                    f"observation {name!r} must be {dtype} of shape {shape}. Got: {value.dtype} of shape {value.shape}"
                )
            views.append(np.ascontiguousarray(value.astype(wire, copy=False)).reshape(-1).view(np.uint8).data)
        if len(observation) != self._count:
            extra = sorted(set(observation) - set(self.names))
            raise LayoutError(f"observation has {extra}, which the contract does not name. It names: {self.names}")
        return views

    def unpack(self, items: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Read-only arrays that share the bytes. Raises LayoutError for a wrong number of items or bytes."""
        self.check(items)
        return {
            name: np.frombuffer(item, wire).reshape(shape)
            for (name, shape, wire, _, _), item in zip(self._features, items, strict=True)
        }

    def check(self, items: Sequence[bytes]) -> None:
        """Raises LayoutError unless ``items`` has one item of the right size per feature."""
        if len(items) != self._count:
            raise LayoutError(f"observation must have {self._count} items ({', '.join(self.names)}). Got: {len(items)}")
        for item, (name, shape, _, dtype, nbytes) in zip(items, self._features, strict=True):
            if len(item) != nbytes:
                raise LayoutError(
                    f"observation {name!r} must have {nbytes} bytes ({dtype} of shape {shape}). Got: {len(item)}"
                )

    def check_numbers(self, items: Sequence[bytes], *, nan: bool) -> None:
        """Raises LayoutError unless every number of items that passed ``check`` is within MAX_MAGNITUDE, or NaN."""
        for place, name in self._numbers:
            values = np.frombuffer(items[place], "<f4")
            if values.dot(values) <= MAX_MAGNITUDE:  # nearly always, and quicker than to look at each
                continue
            wrong = ~(np.abs(values) <= MAX_MAGNITUDE) & ~(nan & np.isnan(values))
            if wrong.any():
                raise LayoutError(
                    f"observation {name!r} must be finite and within {MAX_MAGNITUDE:g}, or NaN where the step is "
                    f"held. Got: {values[wrong][0]}"
                )
