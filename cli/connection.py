"""A client of a running learner, for the verbs that only look at it."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import grpc

from cli.errors import CommandError
from transport import records_pb2
from transport import service_pb2 as pb
from transport.channel import open_channel
from transport.plain_text import plain_text
from transport.service_pb2_grpc import LearnerStub
from transport.token import load_token, token_source
from transport.trust import find_trust
from transport.unanswered import Unanswered, unanswered, why_unanswered


class Connection:
    """Calls to the learner at ``address`` with the token of ``token_path``. Use as a context manager.

    Args:
        address: host:port.
        token_path: File with the token; empty for TANDEM_TOKEN or the default file.
        ca, certificate: As ``learner.ca`` and ``learner.certificate`` of ``tandem actor``.
        timeout_s: How long to wait for an answer [s].
        whose: Who should answer there and what to do when nobody does; empty for the general advice.

    Raises TokenError where there is no token, CertificateError where the learner is another than expected.
    """

    def __init__(
        self,
        address: str,
        token_path: str,
        *,
        ca: str = "",
        certificate: str = "",
        timeout_s: float = 5.0,
        whose: str = "",
    ) -> None:
        self.address = address
        self._known_by = (ca, certificate)
        self._timeout_s = timeout_s
        self._whose = whose
        self._token_source = token_source(token_path)
        token = load_token(token_path)
        try:
            trust = find_trust(address, ca, certificate)
        except OSError as error:
            raise CommandError(self._why(unanswered(address, error))) from error
        self._channel = open_channel(address, token, trust)
        self._stub = LearnerStub(self._channel)

    def status(self) -> Any:
        """The learner's ``Status``. Raises CommandError saying what is wrong and what to do."""
        try:
            return self._stub.GetStatus(pb.GetStatusRequest(), timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise CommandError(self._explained(error)) from error

    def amend(self, run_id: str, amendment: records_pb2.Amendment) -> None:
        """Changes the outcome of an episode; returns when that is logged. Raises CommandError."""
        try:
            self._stub.AmendEpisode(pb.AmendEpisodeRequest(run_id=run_id, amendment=amendment), timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise CommandError(self._explained(error)) from error

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _explained(self, error: grpc.RpcError) -> str:
        code, details = error.code(), plain_text(error.details())
        if code == grpc.StatusCode.UNAUTHENTICATED:
            return f"the learner at {self.address} refused the token of {self._token_source}: {details}"
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            if (found := why_unanswered(self.address, *self._known_by)).what:
                return self._why(found)
            if code == grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"the learner at {self.address} took more than {self._timeout_s:g} s to answer: try again"
        return f"the learner at {self.address} answered {code.name}: {details}"

    def _why(self, found: Unanswered) -> str:
        return str(found) if found.listens or not self._whose else f"{found.what}{self._whose}"
