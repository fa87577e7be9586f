"""Helpers of the tests of the ingest."""

from __future__ import annotations

import time


def serialized(records):
    return [record.SerializeToString() for record in records]


def until(condition, timeout_s: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()
