"""Serves the page of `tandem label` on this machine's loopback, to whoever has the token in its address."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from reward.config import RewardError
from reward.dataset_labelling import DatasetLabelling
from reward.label_page import PAGE
from reward.labelling import Labelling, NotFoundError

MAX_BODY_BYTES = 1 << 20


class LabelServer:
    """Answers until closed. Other pages in the same browser cannot use it: every call needs the token, and a request
    whose Host is not this machine's loopback is refused.

    Attributes:
        port: On loopback.
        url: With the token.

    Args:
        labelling: The episodes.
        port: On loopback; 0 for a free one. Raises RewardError where it is taken.
    """

    def __init__(self, labelling: Labelling | DatasetLabelling, port: int = 0) -> None:
        self._token = secrets.token_urlsafe(16)
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(labelling, self._token))
        except OSError as error:
            raise RewardError(f"port {port} is taken ({error.strerror}). Choose another one with port=") from error
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://localhost:{self.port}/?token={self._token}"

    def serve(self) -> None:
        """Until ``close``, in this thread."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        self._server.server_close()

    def stop(self) -> None:
        """Ends ``serve``, from another thread."""
        self._server.shutdown()


def _handler(labelling: Labelling | DatasetLabelling, token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(self._get)

        def do_POST(self) -> None:
            self._answer(self._post)

        def _get(self, parts: list[str]) -> tuple[str, bytes]:
            match parts:
                case []:
                    return "text/html; charset=utf-8", PAGE.encode()
                case ["api", "episodes"]:
                    return _json(labelling.episodes())
                case ["api", "episode", episode_id]:
                    return _json(labelling.episode(episode_id))
                case ["api", "frame", episode_id, name]:
                    return "image/jpeg", labelling.picture(episode_id, int(name.removesuffix(".jpg")))
            raise NotFoundError(f"no page {self.path!r}")

        def _post(self, parts: list[str]) -> tuple[str, bytes]:
            size = int(self.headers.get("Content-Length", 0))
            if not 0 < size <= MAX_BODY_BYTES:
                raise RewardError(f"a request must have 1 to {MAX_BODY_BYTES} bytes. Got: {size}")
            body = json.loads(self.rfile.read(size))
            match parts:
                case ["api", "labels", episode_id]:
                    labelling.label(episode_id, [str(v) for v in body["labels"]], finished=bool(body["finished"]))
                case ["api", "amend", episode_id]:
                    labelling.amend(episode_id, str(body["outcome"]), int(body["step"]))
                case _:
                    raise NotFoundError(f"no page {self.path!r}")
            return _json({"done": True})

        def _answer(self, make: Callable[[list[str]], tuple[str, bytes]]) -> None:
            address = urlsplit(self.path)
            given = self.headers.get("X-Tandem-Token") or parse_qs(address.query).get("token", [""])[0]
            if self.headers.get("Host", "").rpartition(":")[0] not in ("localhost", "127.0.0.1"):
                self._send(HTTPStatus.FORBIDDEN, *_json({"error": "only this machine's loopback is served"}))
                return
            if not hmac.compare_digest(given.encode(), token.encode()):
                self._send(HTTPStatus.FORBIDDEN, *_json({"error": "open the address that `tandem label` printed"}))
                return
            try:
                self._send(HTTPStatus.OK, *make([part for part in address.path.split("/") if part]))
            except NotFoundError as error:
                self._send(HTTPStatus.NOT_FOUND, *_json({"error": str(error)}))
            except (RewardError, ValueError, KeyError, TypeError) as error:
                self._send(HTTPStatus.BAD_REQUEST, *_json({"error": str(error)}))
            except OSError as error:
                self._send(HTTPStatus.INTERNAL_SERVER_ERROR, *_json({"error": f"nothing was saved: {error}"}))

        def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Referrer-Policy", "no-referrer")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _json(value: Any) -> tuple[str, bytes]:
    return "application/json", json.dumps(value).encode()
