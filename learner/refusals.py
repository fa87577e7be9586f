"""What a call that is refused gets: the status code of each error, and a text that says what to do."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import grpc
from grpc.aio import ServicerContext as Context

from episodes.spool_position import RecordError, SequenceGapError
from learner.ingest import IngestError, NameTakenError, NotJoinedError, SpoolLimitError
from transport.rate import Rate

MAX_DETAILS = 4000
"""Characters of a status text: clients refuse more metadata than 8 kB."""


class WrongRunError(RecordError):
    """Another run than the learner's."""

    def __init__(self, expected: str, got: str):
        super().__init__(
            f"run_id: expected {expected!r}, got {got[:160]!r}. This learner serves another run. To go on with the "
            "other, start its learner with its folder: tandem learner run=FOLDER, or tandem demo run=FOLDER. To take "
            "part in this one, start the actor again"
        )


_CODES: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (SequenceGapError, grpc.StatusCode.OUT_OF_RANGE),
    (WrongRunError, grpc.StatusCode.FAILED_PRECONDITION),
    (NotJoinedError, grpc.StatusCode.FAILED_PRECONDITION),
    (SpoolLimitError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (NameTakenError, grpc.StatusCode.ALREADY_EXISTS),
    (RecordError, grpc.StatusCode.INVALID_ARGUMENT),
    (IngestError, grpc.StatusCode.UNAVAILABLE),
)
REFUSALS = (RecordError, IngestError)


_MALFORMED = Rate(10.0, 100)
_DEFECTS = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.FAILED_PRECONDITION)


async def abort(context: Context, code: grpc.StatusCode, text: str) -> NoReturn:
    """Ends the call with ``code`` and ``text``, which is cut where clients would refuse it."""
    if code in _DEFECTS and (wait_s := _MALFORMED.wait_s()) > 0:
        await asyncio.sleep(wait_s)  # who sends what is malformed again and again costs the others little
    await context.abort(code, text if len(text) <= MAX_DETAILS else text[:MAX_DETAILS] + " ...")
    raise AssertionError("abort returned")


async def refuse(context: Context, error: BaseException) -> NoReturn:
    """Ends the call with the code of ``error``, one of ``REFUSALS``, and its text."""
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    await abort(context, code, str(error))


async def stopping(context: Context) -> NoReturn:
    """Ends a call that outlives the learner."""
    await abort(context, grpc.StatusCode.UNAVAILABLE, "the learner is stopping: keep your records and connect again")
