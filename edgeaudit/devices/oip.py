"""A client of the Open Inference Protocol v2 over REST, with binary tensors.

docs/decisions/0007 says why it is our own.
"""

from __future__ import annotations

import http.client
import weakref
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import numpy.typing as npt

from edgeaudit.agent.tensors import Head, join, read_tensors, split, written
from edgeaudit.errors import DeviceError, DeviceLost, ProtocolError

__all__ = ["OipClient"]

_HEAD_LENGTH = "Inference-Header-Content-Length"
_LARGEST_ANSWER = 1 << 30


class OipClient:
    """One server, over one connection that is kept. Not for several threads at once.

    url: http://host:port. token: sent as a bearer token, where there is one. seconds: until an answer is given up.
    Everything raises `DeviceLost` where the server cannot be reached, `DeviceError` where it refuses, and
    `ProtocolError` where what it answers is not the protocol. Proxies of the environment are not used and redirections
    not followed: a query goes where the audit says, or nowhere.
    """

    def __init__(self, url: str, token: str | None = None, seconds: float = 600.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise DeviceError(f"'{url}' is no address of a server; write http://host:port")
        self.url = url.rstrip("/")
        self._base = parts.path.rstrip("/")
        self._token = token
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=seconds)
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
        binary: bool = True,
        request: str | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Name -> values of every output.

        inputs: name -> values, as the model takes them. binary: tensors as bytes, both ways; otherwise as JSON.
        request: the protocol's `id` of the request.
        """
        entries, blobs = zip(*(written(name, values, binary=binary) for name, values in inputs.items()), strict=True)
        head: Head = {"inputs": list(entries), "parameters": {"binary_data_output": binary}}
        if request is not None:
            head["id"] = request
        try:
            body, head_bytes = join(head, [blob for blob in blobs if blob is not None])
        except ValueError as exc:
            raise ProtocolError("values that are not finite cannot be sent as JSON; send them as bytes") from exc
        headers = {"Content-Type": "application/octet-stream" if binary else "application/json"}
        if head_bytes is not None:
            headers[_HEAD_LENGTH] = str(head_bytes)
        status, answer, length = self._ask("POST", f"/v2/models/{quote(model, safe='')}/infer", body, headers)
        self._require_good(status, answer)
        if length is not None and not (length.isascii() and length.isdecimal()):
            raise ProtocolError(f"{self.url} answered with {_HEAD_LENGTH} {length!r}")
        head, tail = self._read(answer, None if length is None else int(length))
        return {name: np.array(values) for name, values in read_tensors(head.get("outputs"), tail).items()}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _status(self, path: str) -> bool:
        return self._ask("GET", path)[0] == http.client.OK

    def _get(self, path: str) -> Head:
        status, answer, _ = self._ask("GET", path)
        self._require_good(status, answer)
        return self._read(answer, None)[0]

    def _read(self, answer: bytes, head_bytes: int | None) -> tuple[Head, memoryview]:
        try:
            return split(answer, head_bytes)
        except ProtocolError as exc:
            raise ProtocolError(f"{self.url} does not speak the Open Inference Protocol v2: {exc}") from exc

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, str | None]:
        """(status, body, length of its JSON). A connection that the server closed meanwhile is opened once more."""
        sent = {**(headers or {}), **({"Authorization": f"Bearer {self._token}"} if self._token else {})}
        fresh = self._connection.sock is None
        try:
            return self._exchange(method, path, body, sent)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as exc:
            self._connection.close()
            if fresh:
                raise DeviceLost(f"{self.url} ended the connection: {exc}") from exc
        except (OSError, http.client.HTTPException) as exc:
            self._connection.close()
            raise DeviceLost(f"{self.url} cannot be asked: {exc or type(exc).__name__}") from exc
        return self._ask(
            method, path, body, headers
        )  # an answer is a function of the question, so asking again is safe

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes, str | None]:
        self._connection.request(method, self._base + path, body, headers)
        response = self._connection.getresponse()
        content = response.read(_LARGEST_ANSWER)
        if not response.isclosed() and response.read(1):
            self._connection.close()
            raise ProtocolError(f"{self.url} answered with more than {_LARGEST_ANSWER} bytes")
        return response.status, content, response.getheader(_HEAD_LENGTH)

    def _require_good(self, status: int, answer: bytes) -> None:
        if status == http.client.OK:
            return
        try:
            head = split(answer, None)[0]
            said = str(head.get("error", head))
        except ProtocolError:
            said = answer[:200].decode("utf-8", "replace") or http.client.responses.get(status, "")
        raise DeviceError(f"{self.url} refused ({status}): {said}")
