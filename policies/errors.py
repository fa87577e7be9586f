"""Errors of the policies' room, without torch: whoever only waits for one need not load it."""

from __future__ import annotations


class SnapshotError(ValueError):
    """Bytes that are no complete snapshot of the policy they claim to be."""


class NotFiniteError(SnapshotError):
    """Tensors that hold NaN or an infinity: training has diverged."""
