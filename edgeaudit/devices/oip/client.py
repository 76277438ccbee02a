"""A client of the Open Inference Protocol v2 over REST, with binary tensors.

docs/decisions/0007 says why it is our own.
"""

from __future__ import annotations

import ipaddress
import secrets
import ssl
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

from edgeaudit.agent.tensors import Head, join, read_tensors, split, written
from edgeaudit.errors import DeviceError, DeviceLost, ProtocolError

__all__ = ["OipClient"]

_HEAD_LENGTH = "Inference-Header-Content-Length"
_LARGEST_ANSWER = 1 << 30
_CONNECT_SECONDS = 30.0
_LATER = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
"""Come back later: a limit on the rate, a server that starts or is full, and a proxy in front of one that is away."""


class OipClient:
    """One server, over one connection that is kept. Not for several threads at once.

    url: http[s]://host[:port][/path]. token: sent as a bearer token, where there is one; over http to this machine
    alone. seconds: until an answer is given up. binary: tensors as bytes, both ways, unless `infer` is told otherwise.
    Everything raises `DeviceLost` where the server cannot be reached or asks to come back later, `DeviceError` where it
    refuses or is not the one that its certificate should name, and `ProtocolError` where what it answers is not the
    protocol. Proxies of the environment are not used and redirections not followed: a query goes where the audit says,
    or nowhere.

    Certificates are checked against the system's authorities, or those of the file that SSL_CERT_FILE names: Python's
    default context asks OpenSSL, which reads that variable. There is no way to leave the check out.
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
        """Whether the server says that it lives."""
        return self._status("/v2/health/live")

    def ready(self, model: str | None = None) -> bool:
        """Whether the server, or one model, says that it is ready."""
        return self._status("/v2/health/ready" if model is None else f"/v2/models/{quote(model, safe='')}/ready")

    def server_metadata(self) -> Head:
        """Name, version and extensions of the server."""
        return self._get("/v2")

    def model_metadata(self, model: str) -> Head:
        """Inputs, outputs, platform and versions of a model."""
        return self._get(f"/v2/models/{quote(model, safe='')}")

    def fingerprint(self) -> Head:
        """What decides a device's answers: an extension of edgeaudit's agent, which other servers refuse."""
        return self._get("/v2/edgeaudit/fingerprint")

    def facts(self, model: str) -> Head:
        """The part of the fingerprint about one artifact: its SHA-256, options and delegates. No probe is run."""
        return self._get(f"/v2/edgeaudit/models/{quote(model, safe='')}")

    def infer(
        self,
        model: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        *,
        outputs: Sequence[str] = (),
        binary: bool | None = None,
        request: str | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Name -> values of every output.

        inputs: name -> values, as the model takes them. outputs: those that are wanted; empty for all.
        binary: tensors as bytes, both ways; otherwise as JSON; None: as the client was told.
        request: the protocol's `id` of the request. It always has one, so that a server that remembers does not compute
        anew what is asked again because a connection ended.
        """
        binary = self.binary if binary is None else binary
        entries, blobs = zip(*(written(name, values, binary=binary) for name, values in inputs.items()), strict=True)
        head: Head = {"id": request or secrets.token_hex(8), "inputs": list(entries)}
        # Servers without the extension are not told of it.
        if outputs:
            more: Head = {"parameters": {"binary_data": True}} if binary else {}
            head["outputs"] = [{"name": name, **more} for name in outputs]
        elif binary:
            head["parameters"] = {"binary_data_output": True}
        head, tail = self._post(f"/v2/models/{quote(model, safe='')}/infer", head, blobs, binary=binary)
        return {name: np.array(values) for name, values in read_tensors(head.get("outputs"), tail).items()}

    def time(
        self, model: str, inputs: Mapping[str, npt.NDArray[Any]], repetitions: int, seconds: float
    ) -> tuple[list[float], float]:
        """Milliseconds of calls of the runtime itself with one batch, and their CPU time over their wall time.

        An extension of edgeaudit's agent, which times on its own device (`edgeaudit.quality.latency.take_times`).
        """
        entries, blobs = zip(*(written(name, values, binary=True) for name, values in inputs.items()), strict=True)
        asked: Head = {"repetitions": repetitions, "seconds": seconds}
        path = f"/v2/edgeaudit/models/{quote(model, safe='')}/latency"
        head, _ = self._post(path, {"inputs": list(entries), "parameters": asked}, blobs, binary=True)
        try:
            return [float(value) for value in head["milliseconds"]], float(head["cpu_share"])
        except (KeyError, TypeError, ValueError) as exc:
            raise ProtocolError(f"{self.url} did not say how long its calls took") from exc

    def _post(self, path: str, head: Head, blobs: Iterable[bytes | None], *, binary: bool) -> tuple[Head, memoryview]:
        try:
            body, head_bytes = join(head, [blob for blob in blobs if blob is not None])
        except ValueError as exc:
            raise ProtocolError("values that are not finite cannot be sent as JSON; send them as bytes") from exc
        headers = {"Content-Type": "application/octet-stream" if binary else "application/json"}
        if head_bytes is not None:
            headers[_HEAD_LENGTH] = str(head_bytes)
        status, answer, told = self._ask("POST", path, body, headers)
        self._require_good(status, answer, told)
        length = told.get(_HEAD_LENGTH)
        if length is not None and not (length.isascii() and length.isdecimal()):
            raise ProtocolError(f"{self.url} answered with {_HEAD_LENGTH} {length!r}")
        return self._read(answer, None if length is None else int(length))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _status(self, path: str) -> bool:
        status, answer, told = self._ask("GET", path)
        if status == HTTPStatus.TOO_MANY_REQUESTS:  # says nothing of the server's health
            self._require_good(status, answer, told)
        return status == HTTPStatus.OK

    def _get(self, path: str) -> Head:
        status, answer, told = self._ask("GET", path)
        self._require_good(status, answer, told)
        return self._read(answer, None)[0]

    def _read(self, answer: bytes, head_bytes: int | None) -> tuple[Head, memoryview]:
        try:
            return split(answer, head_bytes)
        except ProtocolError as exc:
            raise ProtocolError(f"{self.url} does not speak the Open Inference Protocol v2: {exc}") from exc

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, HTTPMessage]:
        """(status, body, headers). Asks once more where a connection that was kept has been closed meanwhile.

        That is safe: an answer is a function of the question, and the question keeps its `id`.
        """
        sent = {**(headers or {}), **({"Authorization": f"Bearer {self._token}"} if self._token else {})}
        fresh = self._connection.sock is None
        if fresh:
            self._connect()
        try:
            return self._exchange(method, path, body, sent)
        except (RemoteDisconnected, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError) as exc:
            self._connection.close()
            if fresh:
                raise DeviceLost(f"{self.url} ended the connection: {exc}") from exc
        except (OSError, HTTPException) as exc:
            self._connection.close()
            raise DeviceLost(f"{self.url} cannot be asked: {exc or type(exc).__name__}") from exc
        return self._ask(method, path, body, headers)

    def _connect(self) -> None:
        self._connection.timeout = min(_CONNECT_SECONDS, self._seconds)
        try:
            self._connection.connect()
        except OSError as exc:
            self._connection.close()  # after a failed handshake it would still hold the socket without TLS
            raise _unconnected(self.url, exc) from exc
        self._connection.sock.settimeout(self._seconds)

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes, HTTPMessage]:
        self._connection.request(method, self._base + path, body, headers)
        response = self._connection.getresponse()
        content = response.read(_LARGEST_ANSWER)
        # Reading a number of bytes, http.client of Python 3.11 takes an answer that was cut short for a whole one.
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
            head = split(answer, None)[0]
            said = str(head.get("error", head))
        except ProtocolError:
            said = answer[:200].decode("utf-8", "replace") or responses.get(status, "")
        if status in _LATER:
            raise DeviceLost(f"{self.url} cannot answer now ({status}): {said}", _seconds(headers.get("Retry-After")))
        raise DeviceError(f"{self.url} refused ({status}): {said}")


@dataclass(frozen=True)
class _Address:
    """Where a server is."""

    secure: bool
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> _Address:
        """Read it; `DeviceError` for one that is none, or that holds what it must not."""
        try:
            parts = urlsplit(url)
            port = parts.port
            (parts.hostname or "").encode("idna")  # what the socket would do with it
        except ValueError as exc:
            raise DeviceError(f"'{url}' is no address of a server: {exc}; write http://host:port") from exc
        if parts.username is not None or parts.password is not None:
            raise DeviceError(
                f"the address of {parts.hostname} has a name or a password in it, which reports and logs would repeat; "
                "leave it out, and name an environment variable with a token"
            )
        plain = url.isascii() and url.isprintable() and not set(url) & set(" ?#")
        if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
            raise DeviceError(f"'{url}' is no address of a server; write http://host:port, or https")
        secure = parts.scheme == "https"
        return cls(secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/"))

    @property
    def here(self) -> bool:
        """Whether it is this machine, so that nothing goes over a network."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _require_token_may_go(token: str, address: _Address) -> None:
    if not token.isascii() or not token.isprintable() or " " in token or not token:
        raise DeviceError(f"the token for {address.host} is empty or has characters that no token has")
    if not address.secure and not address.here:
        raise DeviceError(
            f"a token is not sent over http to {address.host}, where everybody on the way can read it; use https, or "
            f"a tunnel: ssh -L 8000:127.0.0.1:{address.port} {address.host}, and http://127.0.0.1:8000"
        )


def _connection(address: _Address) -> HTTPConnection:
    if address.secure:
        return HTTPSConnection(address.host, address.port, context=ssl.create_default_context())
    return HTTPConnection(address.host, address.port)


def _unconnected(url: str, exc: OSError) -> DeviceError:
    """What it means that no connection could be made."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return DeviceError(
            f"{url} is not known to be the server that it should be: {exc.verify_message}. Where an authority of your "
            "own signed its certificate, name the file with that authority's: SSL_CERT_FILE=/path/to/ca.pem"
        )
    if isinstance(exc, ssl.SSLError) and not isinstance(exc, ssl.SSLEOFError):
        return DeviceError(f"{url} does not speak TLS as it should: {exc.reason or exc}")
    return DeviceLost(f"{url} cannot be asked: {exc or type(exc).__name__}")


def _seconds(said: str | None) -> float | None:
    """Of a header Retry-After: seconds, or the moment from which on; None where there is none that can be read."""
    if said is None:
        return None
    if said.isascii() and said.isdecimal():
        return float(said)
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000": of no zone that is told, and HTTP's times are of Greenwich
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
