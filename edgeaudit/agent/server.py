"""The agent's HTTP server: who may ask, how much, and that nothing which is sent ends it.

It listens on the loopback interface only. Every request, health included, needs the token. Sizes are judged by the
headers, before a body is read; time and the number of connections are bounded.
"""

from __future__ import annotations

import hmac
import json
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edgeaudit.agent import LEAST_TOKEN, MAX_BODY
from edgeaudit.agent.routes import Answer, NotThere, Routes
from edgeaudit.errors import EdgeAuditError, ProtocolError

__all__ = ["AgentServer"]

_CONNECTIONS = 16
_IDLE_SECONDS = 60.0
_DRAIN_SECONDS = 2.0
_MOST_JSON = 8 << 20
"""Bytes of JSON, whose numbers take thirteen times as much memory while they are read: 60 MB took 790 (Python 3.9)."""
_HEAD_LENGTH = "Inference-Header-Content-Length"


class _Refusal(Exception):
    """An answer that is none, with its status."""

    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


class AgentServer(ThreadingHTTPServer):
    """A thread for each connection, of which there are few at a time.

    port: 0 takes a free one. max_body: bytes. `url` is where it is once made; `serve_forever` serves.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, routes: Routes, token: str, port: int = 0, max_body: int = MAX_BODY) -> None:
        if len(token) < LEAST_TOKEN:
            raise ValueError(f"a token has {LEAST_TOKEN} characters or more")
        self.routes = routes
        self.token = token.encode()
        self.max_body = max_body
        self._room = threading.BoundedSemaphore(_CONNECTIONS)
        self._turn = threading.Lock()
        self._under_way = 0
        self._asked = time.monotonic()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def idle_seconds(self) -> float:
        """For how long nobody who has the token asked; 0 while an answer is being made."""
        with self._turn:
            return 0.0 if self._under_way else time.monotonic() - self._asked

    def begin(self) -> None:
        """Somebody with the token asks."""
        with self._turn:
            self._under_way += 1

    def end(self) -> None:
        """That was answered, or given up."""
        with self._turn:
            self._under_way -= 1
            self._asked = time.monotonic()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread; refuse it where there are too many."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  socketserver's
        """A connection that broke is no news; anything else goes to standard error, and the agent serves on."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


class _Handler(BaseHTTPRequestHandler):
    server: AgentServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True  # a small answer would wait for the acknowledgement of the one before

    _unread = True
    """Whether a body may follow that was not read."""

    _let_in = False
    """Whether this request had the token."""

    def version_string(self) -> str:
        """Of Python's version nothing."""
        return "edgeaudit-agent"

    def do_GET(self) -> None:
        """Health, metadata, fingerprint."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Inference."""
        self._answer(self._post)

    def handle_expect_100(self) -> bool:
        """Ask for a body only where it would be read."""
        self._unread = True
        try:
            self._require_token()
            self.server.routes.find_post(self.path)
            self._body_length()
        except (_Refusal, ProtocolError) as exc:
            self._refuse(_as_refusal(exc))
            return False
        return super().handle_expect_100()

    def _get(self) -> Answer:
        self._require_token()
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            raise _Refusal(HTTPStatus.BAD_REQUEST, "a GET has no body")
        return self.server.routes.get(self.path)

    def _post(self) -> Answer:
        self._require_token()
        infer = self.server.routes.find_post(self.path)
        head_bytes = self.headers.get(_HEAD_LENGTH)
        if head_bytes is not None and not _is_count(head_bytes):
            raise _Refusal(HTTPStatus.BAD_REQUEST, f"{_HEAD_LENGTH} is {head_bytes!r}, which is no number of bytes")
        length = self._body_length()
        _require_little_json(length if head_bytes is None else int(head_bytes))
        body = self.rfile.read(length)
        self._unread = False
        if len(body) < length:
            raise _Refusal(HTTPStatus.BAD_REQUEST, f"the body ended after {len(body)} of {length} bytes")
        return infer(body, None if head_bytes is None else int(head_bytes))

    def _require_token(self) -> None:
        given = self.headers.get_all("Authorization", [])
        if not given:
            raise _Refusal(HTTPStatus.UNAUTHORIZED, "a token is needed", {"WWW-Authenticate": "Bearer"})
        scheme, _, token = given[0].partition(" ")
        right = hmac.compare_digest(token.strip().encode("utf-8", "replace"), self.server.token)
        if len(given) > 1 or scheme.lower() != "bearer" or not right:
            raise _Refusal(HTTPStatus.FORBIDDEN, "this is not the token")
        if not self._let_in:
            self._let_in = True
            self.server.begin()

    def handle_one_request(self) -> None:
        """http.server's; tells the server when one that was let in is over."""
        try:
            super().handle_one_request()
        finally:
            if self._let_in:
                self._let_in = False
                self.server.end()

    def _body_length(self) -> int:
        if "Transfer-Encoding" in self.headers:
            raise _Refusal(HTTPStatus.LENGTH_REQUIRED, "a body has a Content-Length here, and no Transfer-Encoding")
        if self.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a body is not compressed here")
        lengths = self.headers.get_all("Content-Length", [])
        if not lengths:
            raise _Refusal(HTTPStatus.LENGTH_REQUIRED, "a POST needs a Content-Length")
        if len(lengths) > 1 or not _is_count(lengths[0]):
            raise _Refusal(HTTPStatus.BAD_REQUEST, f"the Content-Length {', '.join(lengths)!r} is no number of bytes")
        if int(lengths[0]) > self.server.max_body:
            raise _Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the body has {lengths[0]} bytes, and {self.server.max_body} are the most that is taken",
            )
        return int(lengths[0])

    def _answer(self, make: Any) -> None:
        self._unread = self.command == "POST" or "Content-Length" in self.headers or "Transfer-Encoding" in self.headers
        try:
            answer = make()
        except (_Refusal, ProtocolError) as exc:
            self._refuse(_as_refusal(exc))
        except EdgeAuditError as exc:  # of the runtime: the request was right
            self._refuse(_Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, str(exc)))
        except OSError:
            raise  # the connection is gone
        except Exception as exc:  # noqa: BLE001  a server's edge: one request's failure ends nothing but its answer
            traceback.print_exc()
            self._refuse(_Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"unexpected {type(exc).__name__}: {exc}"))
        else:
            headers = {} if answer.head_bytes is None else {_HEAD_LENGTH: str(answer.head_bytes)}
            binary = answer.head_bytes is not None
            self._send(HTTPStatus.OK, answer.body, headers, "application/octet-stream" if binary else _JSON)

    def _refuse(self, refusal: _Refusal) -> None:
        if self._unread:  # what follows on this connection is the body, and no request
            self.close_connection = True
        body = json.dumps({"error": str(refusal)}).encode()
        self._send(refusal.status, body, refusal.headers, _JSON)
        if self._unread:
            self._drain()

    def _send(self, status: HTTPStatus, body: bytes, headers: Mapping[str, str], kind: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _drain(self) -> None:
        """Throw away some of a refused body: a close with bytes unread resets the connection, answer and all."""
        ends = time.monotonic() + _DRAIN_SECONDS
        left = self.server.max_body
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_DRAIN_SECONDS / 4)
            while left > 0 and time.monotonic() < ends and (block := self.rfile.read1(1 << 16)):
                left -= len(block)
        except OSError:
            return

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses (a request line that is none, too many headers, other methods), as JSON."""
        self._unread = False
        self.close_connection = True
        if not hasattr(self, "command") or self.command is None:
            self.command = ""
        self._refuse(_Refusal(HTTPStatus(code), message or explain or HTTPStatus(code).phrase))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  http.server's name
        """Say nothing: a line for each query would fill a board's disk."""


_JSON = "application/json"


def _require_little_json(size: int) -> None:
    if size > _MOST_JSON:
        raise _Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the JSON of a request has {size} bytes, and {_MOST_JSON} are the most that is taken; tensors go as bytes",
        )


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20


def _as_refusal(exc: Exception) -> _Refusal:
    if isinstance(exc, _Refusal):
        return exc
    return _Refusal(HTTPStatus.NOT_FOUND if isinstance(exc, NotThere) else HTTPStatus.BAD_REQUEST, str(exc))
