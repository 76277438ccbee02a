"""A client of the Open Inference Protocol v2 over REST, with binary tensors.

docs/decisions/0007 explains why edgeaudit has its own.
"""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import socket
import ssl
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import (
    HTTPConnection,
    HTTPException,
    HTTPMessage,
    HTTPSConnection,
    IncompleteRead,
    RemoteDisconnected,
    responses,
)
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import numpy.typing as npt

from edgeaudit.agent.messages import Fingerprint, ServedFacts
from edgeaudit.agent.tensors import Head, join, read_tensors, split, written
from edgeaudit.devices import reported
from edgeaudit.errors import DeviceError, DeviceLost, ProtocolError

__all__ = ["OipClient"]

_HEAD_LENGTH = "Inference-Header-Content-Length"
_LARGEST_ANSWER = 1 << 28
_LARGEST_JSON = 1 << 25
"""Bytes of the JSON in an answer. Parsing takes thirteen times as much memory."""
_LONGEST_REASON = 500
_LONGEST_WAIT = 3600.0
_CONNECT_SECONDS = 30.0
_LATER = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
"""Retryable: a rate limit, a server that is starting or overloaded, and a proxy whose upstream is down."""


class OipClient:
    """A client of one server, over one persistent connection. Not thread-safe.

    url: http[s]://host[:port][/path]. token: sent as a bearer token; over plain http to this machine only. seconds:
    of a whole request, from its first byte to the last one of the response, however that drips. binary: tensors as
    bytes in both directions, unless `infer` overrides it. All methods raise `DeviceLost` if the server cannot be
    reached or asks for a later retry, `DeviceError` if it refuses or its certificate does not match, and
    `ProtocolError` if its response violates the protocol. Proxies from the environment are not used and redirects are
    not followed: a query goes to the address in the audit or fails.

    Certificates are checked against the system's authorities, or those of the file that SSL_CERT_FILE names: Python's
    default context uses OpenSSL, which reads that variable. The check cannot be disabled.
    """

    def __init__(self, url: str, token: str | None = None, seconds: float = 600.0, *, binary: bool = True) -> None:
        address = _Address.of(url)
        if token is not None:
            _require_token_may_go(token, address)
        self.url = url.rstrip("/")
        self.binary = binary
        self._base = address.path
        self._token = token
        self._seconds = seconds
        self._connection = _connection(address)
        weakref.finalize(self, self._connection.close)

    def live(self) -> bool:
        """Whether the server reports that it is live."""
        return self._status("/v2/health/live")

    def ready(self, model: str | None = None) -> bool:
        """Whether the server, or one model, reports that it is ready."""
        return self._status("/v2/health/ready" if model is None else f"/v2/models/{quote(model, safe='')}/ready")

    def server_metadata(self) -> Head:
        """Name, version and extensions of the server."""
        return self._get("/v2")

    def model_metadata(self, model: str) -> Head:
        """Inputs, outputs, platform and versions of a model."""
        return self._get(f"/v2/models/{quote(model, safe='')}")

    def fingerprint(self) -> Fingerprint:
        """Everything that decides a device's outputs: an extension of edgeaudit's agent that other servers refuse."""
        return reported.fingerprint(self._get("/v2/edgeaudit/fingerprint"), self.url)

    def facts(self, model: str) -> ServedFacts:
        """The part of the fingerprint about one artifact: its SHA-256, options and delegates. Runs no probe."""
        return reported.served_facts(self._get(f"/v2/edgeaudit/models/{quote(model, safe='')}"), self.url)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        *,
        outputs: Sequence[str] = (),
        binary: bool | None = None,
        request: str | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Run the model; returns name -> values of every output.

        inputs: name -> values, as the model takes them. outputs: those to return; empty for all.
        binary: tensors as bytes in both directions, or as JSON; None: the client's default.
        request: the protocol's request `id`; generated if None, so that a server with a response cache does not compute
        a retry again.
        """
        binary = self.binary if binary is None else binary
        entries, blobs = zip(*(written(name, values, binary=binary) for name, values in inputs.items()), strict=True)
        head: Head = {"id": request or secrets.token_hex(8), "inputs": list(entries)}
        # Servers without the extension must not receive its parameters.
        if outputs:
            parameters: Head = {"parameters": {"binary_data": True}} if binary else {}
            head["outputs"] = [{"name": name, **parameters} for name in outputs]
        elif binary:
            head["parameters"] = {"binary_data_output": True}
        head, tail = self._post(f"/v2/models/{quote(model, safe='')}/infer", head, blobs, binary=binary)
        return {name: np.array(values) for name, values in read_tensors(head.get("outputs"), tail).items()}

    def time(
        self, model: str, inputs: Mapping[str, npt.NDArray[Any]], repetitions: int, seconds: float
    ) -> tuple[list[float], float]:
        """Milliseconds of calls of the runtime itself with one batch, and their CPU time over their wall time.

        An extension of edgeaudit's agent, which measures on its device (`edgeaudit.quality.latency.take_times`).
        """
        entries, blobs = zip(*(written(name, values, binary=True) for name, values in inputs.items()), strict=True)
        parameters: Head = {"repetitions": repetitions, "seconds": seconds}
        path = f"/v2/edgeaudit/models/{quote(model, safe='')}/latency"
        head, _ = self._post(path, {"inputs": list(entries), "parameters": parameters}, blobs, binary=True)
        times, share = head.get("milliseconds"), head.get("cpu_share")
        numbers = isinstance(times, list) and all(isinstance(value, int | float) for value in times)
        if not isinstance(times, list) or not numbers or not isinstance(share, int | float):
            raise ProtocolError(f"{self.url} did not report how long its calls took")
        return [float(value) for value in times], float(share)

    def _post(self, path: str, head: Head, blobs: Iterable[bytes | None], *, binary: bool) -> tuple[Head, memoryview]:
        try:
            body, head_bytes = join(head, [blob for blob in blobs if blob is not None])
        except ValueError as exc:
            raise ProtocolError("NaN and infinity cannot be sent as JSON; send them as bytes") from exc
        headers = {"Content-Type": "application/octet-stream" if binary else "application/json"}
        if head_bytes is not None:
            headers[_HEAD_LENGTH] = str(head_bytes)
        status, answer, received = self._request("POST", path, body, headers)
        self._require_good(status, answer, received)
        length = received.get(_HEAD_LENGTH)
        if length is not None and not (length.isascii() and length.isdecimal()):
            raise ProtocolError(f"{self.url} answered with {_HEAD_LENGTH} {length!r}")
        return self._read(answer, None if length is None else int(length))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _status(self, path: str) -> bool:
        status, answer, received = self._request("GET", path)
        if status == HTTPStatus.TOO_MANY_REQUESTS:  # does not indicate the server's health
            self._require_good(status, answer, received)
        return status == HTTPStatus.OK

    def _get(self, path: str) -> Head:
        status, answer, received = self._request("GET", path)
        self._require_good(status, answer, received)
        return self._read(answer, None)[0]

    def _read(self, answer: bytes, head_bytes: int | None) -> tuple[Head, memoryview]:
        length = len(answer) if head_bytes is None else head_bytes
        if length > _LARGEST_JSON:
            raise ProtocolError(f"{self.url} answered with {length} bytes of JSON; the limit is {_LARGEST_JSON}")
        try:
            return split(answer, head_bytes)
        except ProtocolError as exc:
            raise ProtocolError(f"{self.url} does not speak the Open Inference Protocol v2: {exc}") from exc

    def _request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, HTTPMessage]:
        """(status, body, headers). Retries once if a persistent connection was closed in the meantime.

        That is safe: inference has no side effects, and the retry keeps the request's `id`.
        """
        sent = {**(headers or {}), **({"Authorization": f"Bearer {self._token}"} if self._token else {})}
        fresh = self._connection.sock is None
        if fresh:
            self._connect()
        deadline = _Deadline(self._connection, self._seconds)
        try:
            with deadline:
                answer = self._exchange(method, path, body, sent)
        except (RemoteDisconnected, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError) as exc:
            self._connection.close()
            deadline.require_kept(self.url, exc)
            if fresh:
                raise DeviceLost(f"{self.url} closed the connection: {exc}") from exc
        except (OSError, HTTPException) as exc:
            self._connection.close()
            deadline.require_kept(self.url, exc)
            raise DeviceLost(f"{self.url} cannot be reached: {exc or type(exc).__name__}") from exc
        else:
            # http.client takes a head that ends too early for a whole one.
            deadline.require_kept(self.url)
            return answer
        return self._request(method, path, body, headers)

    def _connect(self) -> None:
        self._connection.timeout = min(_CONNECT_SECONDS, self._seconds)
        try:
            self._connection.connect()
        except OSError as exc:
            self._connection.close()  # after a failed handshake it still holds the socket, without TLS
            raise _unconnected(self.url, exc) from exc
        self._connection.sock.settimeout(self._seconds)

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes, HTTPMessage]:
        self._connection.request(method, self._base + path, body, headers)
        response = self._connection.getresponse()
        with contextlib.closing(response):  # else it holds the socket beyond the connection's end
            content = response.read(_LARGEST_ANSWER)
            # When reading a given number of bytes, http.client of Python 3.11 does not report a truncated response.
            if response.length and len(content) < _LARGEST_ANSWER:
                raise IncompleteRead(content, response.length)
            if not response.isclosed() and response.read(1):
                self._connection.close()
                raise ProtocolError(f"{self.url} answered with more than {_LARGEST_ANSWER} bytes")
        return response.status, content, response.headers

    def _require_good(self, status: int, answer: bytes, headers: HTTPMessage) -> None:
        if status == HTTPStatus.OK:
            return
        try:
            head = split(answer[:_LARGEST_JSON], None)[0]
            reason = str(head.get("error", head))
        except ProtocolError:
            reason = answer[:_LONGEST_REASON].decode("utf-8", "replace") or responses.get(status, "")
        if len(reason) > _LONGEST_REASON:
            reason = f"{reason[:_LONGEST_REASON]}..."
        if status in _LATER:
            wait = _seconds(headers.get("Retry-After"), headers.get("Date"))
            raise DeviceLost(f"{self.url} cannot answer now ({status}): {reason}", wait)
        raise DeviceError(f"{self.url} refused ({status}): {reason}")


class _Deadline:
    """Ends a connection after some seconds in all: a socket's timeout is of each read, and a byte starts it anew."""

    def __init__(self, connection: HTTPConnection, seconds: float) -> None:
        self._connection, self._seconds = connection, seconds
        self._passed = False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self._passed = True
        with contextlib.suppress(OSError, AttributeError):  # closed in the meantime
            self._connection.sock.shutdown(socket.SHUT_RDWR)

    def require_kept(self, url: str, error: Exception | None = None) -> None:
        """Raise `DeviceLost` if it is the reason for the error."""
        if self._passed:
            raise DeviceLost(f"{url} did not answer within {self._seconds:g} s") from error


@dataclass(frozen=True)
class _Address:
    """A server's address."""

    secure: bool
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> _Address:
        """Parse a URL; `DeviceError` if it is invalid or contains credentials."""
        try:
            parts = urlsplit(url)
            port = parts.port
            (parts.hostname or "").encode("idna")  # as the socket would encode it
        except ValueError as exc:
            raise DeviceError(f"'{url}' is not a server address: {exc}; write http://host:port") from exc
        if parts.username is not None or parts.password is not None:
            raise DeviceError(
                f"the address of {parts.hostname} contains a user name or password, which would appear in reports and "
                "logs; "
                "remove it, and name an environment variable that holds a token"
            )
        plain = url.isascii() and url.isprintable() and not set(url) & set(" ?#")
        if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
            raise DeviceError(f"'{url}' is not a server address; write http://host:port, or https")
        secure = parts.scheme == "https"
        return cls(secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/"))

    @property
    def here(self) -> bool:
        """Whether it is the loopback interface, so that nothing is sent over a network."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _require_token_may_go(token: str, address: _Address) -> None:
    if not token.isascii() or not token.isprintable() or " " in token or not token:
        raise DeviceError(
            f"the token for {address.host} is empty or contains characters that are not allowed in a token"
        )
    if not address.secure and not address.here:
        raise DeviceError(
            f"a token is not sent over http to {address.host}, since the network could read it; use https, or "
            f"a tunnel: ssh -L 8000:127.0.0.1:{address.port} {address.host}, and http://127.0.0.1:8000"
        )


def _connection(address: _Address) -> HTTPConnection:
    if address.secure:
        return HTTPSConnection(address.host, address.port, context=ssl.create_default_context())
    return HTTPConnection(address.host, address.port)


def _unconnected(url: str, exc: OSError) -> DeviceError:
    """The error for a failed connection attempt."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return DeviceError(
            f"the certificate of {url} cannot be verified: {exc.verify_message}. If a certificate authority of your "
            "own signed it, name the file with that authority's certificate: SSL_CERT_FILE=/path/to/ca.pem"
        )
    if isinstance(exc, ssl.SSLError) and not isinstance(exc, ssl.SSLEOFError):
        return DeviceError(f"the TLS handshake with {url} failed: {exc.reason or exc}")
    return DeviceLost(f"{url} cannot be reached: {exc or type(exc).__name__}")


def _seconds(text: str | None, sent: str | None) -> float | None:
    """Seconds to wait according to a Retry-After header (seconds or a date); None if absent or unreadable.

    A date is compared with the server's own, as `sent`: a board without a battery has a clock of its own.
    """
    if text is None:
        return None
    if text.isascii() and text.isdecimal():
        return min(float(text), _LONGEST_WAIT)
    moment = _moment(text)
    if moment is None:
        return None
    now = None if sent is None else _moment(sent)
    return min(max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()), _LONGEST_WAIT)


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    # "-0000" means no time zone; HTTP dates are in GMT
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
