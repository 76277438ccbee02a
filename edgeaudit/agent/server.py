"""The agent's HTTP server: authorization, limits, and robustness against any request.

It listens on the loopback interface only. Every request, health checks included, needs the token. Sizes are checked in
the headers, before a body is read; time and the number of connections are limited.

Whoever reaches the port may connect, so that connections which have not shown the token (strangers) must not be in the
way of those that have. A stranger has five seconds for its whole head, however it drips; of more than 32 the oldest
one is ended, so that the newest, which may be the owner, is always heard. Connections that have shown the token and
requests at work have limits of their own; a request waits for its turn, and 503 is answered after a minute.
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

_STRANGERS = 32
_HEAD_SECONDS = 5.0
_KNOWN = 64
_AT_WORK = 16
_TURN_SECONDS = 60.0
_IDLE_SECONDS = 60.0
_DRAIN_SECONDS = 2.0
_MOST_JSON = 8 << 20
"""Limit of the JSON in a request, in bytes. Parsing takes thirteen times as much memory: 790 MB for 60 MB (Python
3.9)."""
_HEAD_LENGTH = "Inference-Header-Content-Length"


class _Refusal(Exception):
    """An HTTP error response."""

    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


class AgentServer(ThreadingHTTPServer):
    """An HTTP server with a thread per connection and a limited number of connections.

    port: 0 for any free port. max_body: bytes. The constructor binds to `url`; `serve_forever` serves.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, routes: Routes, token: str, port: int = 0, max_body: int = MAX_BODY) -> None:
        if len(token) < LEAST_TOKEN:
            raise ValueError(f"a token must have at least {LEAST_TOKEN} characters")
        self.routes = routes
        self.token = token.encode()
        self.max_body = max_body
        self._lock = threading.Lock()
        self._strangers: dict[socket.socket, float] = {}  # connection -> when its time is over; the oldest first
        self._known: set[socket.socket] = set()
        self._turns = threading.BoundedSemaphore(_AT_WORK)
        self._in_progress = 0
        self._last_request = time.monotonic()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """The URL it listens on."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def idle_seconds(self) -> float:
        """Seconds since the last authorized request; 0 while one is in progress."""
        with self._lock:
            return 0.0 if self._in_progress else time.monotonic() - self._last_request

    def admit(self, connection: socket.socket) -> bool:
        """The connection has shown the token. Returns whether it may stay."""
        with self._lock:
            if connection in self._known:
                return True
            is_there = self._strangers.pop(connection, None) is not None
            if not is_there or len(self._known) >= _KNOWN:
                return False
            self._known.add(connection)
            return True

    def begin(self) -> bool:
        """An authorized request starts when it is its turn. Returns False if that takes too long."""
        if not self._turns.acquire(timeout=_TURN_SECONDS):
            return False
        with self._lock:
            self._in_progress += 1
        return True

    def end(self) -> None:
        """An authorized request is completed or abandoned."""
        with self._lock:
            self._in_progress -= 1
            self._last_request = time.monotonic()
        self._turns.release()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread; the oldest stranger goes if there are too many."""
        with self._lock:
            if len(self._strangers) >= _STRANGERS:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                _end(oldest, HTTPStatus.SERVICE_UNAVAILABLE)
            self._strangers[request] = time.monotonic() + _HEAD_SECONDS
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """End strangers whose time is over; called about twice a second."""
        now = time.monotonic()
        with self._lock:
            for late in [one for one, end in self._strangers.items() if end < now]:
                del self._strangers[late]
                _end(late, HTTPStatus.REQUEST_TIMEOUT)

    def shutdown_request(self, request: Any) -> None:
        """The connection is closed."""
        with self._lock:
            self._strangers.pop(request, None)
            self._known.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  socketserver's
        """Ignore broken connections; print anything else to standard error and continue to serve."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


def _end(connection: socket.socket, status: HTTPStatus) -> None:
    """Say why, and end a connection that another thread reads from."""
    answer = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n"
    )
    try:
        # What does not fit into the buffer is not waited for.
        connection.send(answer.encode(), socket.MSG_DONTWAIT)
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Handler(BaseHTTPRequestHandler):
    server: AgentServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True  # a small response would wait for the acknowledgement of the previous one

    _unread = True
    """Whether an unread body may follow."""

    _authorized = False
    """Whether this request had a valid token."""

    def version_string(self) -> str:
        """Do not reveal Python's version."""
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
            raise _Refusal(HTTPStatus.BAD_REQUEST, f"{_HEAD_LENGTH} is {head_bytes!r}, not a number of bytes")
        length = self._body_length()
        _require_little_json(length if head_bytes is None else int(head_bytes))
        body = self.rfile.read(length)
        self._unread = False
        if len(body) < length:
            raise _Refusal(HTTPStatus.BAD_REQUEST, f"the body ended after {len(body)} of {length} bytes")
        return infer(body, None if head_bytes is None else int(head_bytes))

    def _require_token(self) -> None:
        values = self.headers.get_all("Authorization", [])
        if not values:
            raise _Refusal(HTTPStatus.UNAUTHORIZED, "a token is required", {"WWW-Authenticate": "Bearer"})
        scheme, _, token = values[0].partition(" ")
        valid = hmac.compare_digest(token.strip().encode("utf-8", "replace"), self.server.token)
        if len(values) > 1 or scheme.lower() != "bearer" or not valid:
            raise _Refusal(HTTPStatus.FORBIDDEN, "the token is invalid")
        if self._authorized:
            return
        if not self.server.admit(self.connection) or not self.server.begin():
            raise _Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the agent has too much to do", {"Retry-After": "1"})
        self._authorized = True

    def handle_one_request(self) -> None:
        """As in http.server; also tells the server when an authorized request ends."""
        try:
            super().handle_one_request()
        finally:
            if self._authorized:
                self._authorized = False
                self.server.end()

    def _body_length(self) -> int:
        if "Transfer-Encoding" in self.headers:
            raise _Refusal(
                HTTPStatus.LENGTH_REQUIRED, "a body needs a Content-Length; Transfer-Encoding is not supported"
            )
        if self.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "compressed bodies are not supported")
        lengths = self.headers.get_all("Content-Length", [])
        if not lengths:
            raise _Refusal(HTTPStatus.LENGTH_REQUIRED, "a POST needs a Content-Length")
        if len(lengths) > 1 or not _is_count(lengths[0]):
            raise _Refusal(
                HTTPStatus.BAD_REQUEST, f"the Content-Length {', '.join(lengths)!r} is not a number of bytes"
            )
        if int(lengths[0]) > self.server.max_body:
            raise _Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the body has {lengths[0]} bytes; the limit is {self.server.max_body}",
            )
        return int(lengths[0])

    def _answer(self, make: Any) -> None:
        self._unread = self.command == "POST" or "Content-Length" in self.headers or "Transfer-Encoding" in self.headers
        try:
            answer = make()
        except (_Refusal, ProtocolError) as exc:
            self._refuse(_as_refusal(exc))
        except EdgeAuditError as exc:  # from the runtime: the request was valid
            self._refuse(_Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, str(exc)))
        except OSError:
            raise  # the connection is gone
        except Exception as exc:  # noqa: BLE001  a failed request must not stop the server
            traceback.print_exc()
            self._refuse(_Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"unexpected {type(exc).__name__}: {exc}"))
        else:
            headers = {} if answer.head_bytes is None else {_HEAD_LENGTH: str(answer.head_bytes)}
            binary = answer.head_bytes is not None
            self._send(HTTPStatus.OK, answer.body, headers, "application/octet-stream" if binary else _JSON)

    def _refuse(self, refusal: _Refusal) -> None:
        if self._unread:  # the body follows on this connection, not a request
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
        """Discard part of a refused body: closing with unread bytes resets the connection and loses the response."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        remaining = self.server.max_body
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_DRAIN_SECONDS / 4)
            while remaining > 0 and time.monotonic() < deadline and (block := self.rfile.read1(1 << 16)):
                remaining -= len(block)
        except OSError:
            return

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors of http.server itself (malformed request line, too many headers, other methods), as JSON."""
        self._unread = False
        self.close_connection = True
        if not hasattr(self, "command") or self.command is None:
            self.command = ""
        self._refuse(_Refusal(HTTPStatus(code), message or explain or HTTPStatus(code).phrase))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  http.server's name
        """Log nothing: a line per request would fill a board's disk."""


_JSON = "application/json"


def _require_little_json(size: int) -> None:
    if size > _MOST_JSON:
        raise _Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the JSON of a request has {size} bytes; the limit is {_MOST_JSON}; send tensors as bytes",
        )


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20


def _as_refusal(exc: Exception) -> _Refusal:
    if isinstance(exc, _Refusal):
        return exc
    return _Refusal(HTTPStatus.NOT_FOUND if isinstance(exc, NotThere) else HTTPStatus.BAD_REQUEST, str(exc))
