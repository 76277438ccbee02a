"""An agent in this process, over a runtime that doubles what it is given, and raw HTTP to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.agent.routes import Routes
from edgeaudit.agent.served import Served
from edgeaudit.agent.server import AgentServer
from edgeaudit.filetypes.artifact import Artifact, Manifest, TensorSpec
from edgeaudit.runtimes.base import Runtime, RuntimeSpec

TOKEN = "0123456789abcdef"  # noqa: S105
FLOATS = Manifest(
    "onnx",
    "nothing.onnx",
    "ab" * 32,
    7,
    TensorSpec("in", (-1, 2), "float32"),
    TensorSpec("out", (-1, 2), "float32"),
    False,
)


class Doubling(Runtime):
    """Answers twice what it is given; fails where the first value is -1."""

    spec = RuntimeSpec("doubling", "onnx", ("numpy",), "onnx", "a fake", {"batch": 2})

    def _open(self) -> None:
        self.asked: list[npt.NDArray[Any]] = []

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self.asked.append(block)
        if block[0, 0] == -1:
            raise RuntimeError("the first value is -1")
        with np.errstate(over="ignore"):
            doubled: npt.NDArray[Any] = block * np.asarray(2, block.dtype)
        return doubled


def doubling(manifest: Manifest = FLOATS) -> Doubling:
    return Doubling(Artifact(Path(), manifest))


@dataclass(frozen=True)
class Response:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Agent:
    """A serving agent. `ask` sends what it is told and adds only the token."""

    def __init__(self, server: AgentServer) -> None:
        self.server = server
        self.url = server.url
        self.port = int(server.server_address[1])

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = TOKEN,
    ) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            sent = {"Authorization": f"Bearer {token}"} if token is not None else {}
            content = json.dumps(body).encode() if isinstance(body, dict) else body
            connection.request(method, path, content, {**sent, **(headers or {})})
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            connection.close()

    def raw(self, text: bytes, *, close: bool = False) -> bytes:
        """Send bytes as they are, say that no more come where `close`, and read until the agent closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(text)
            if close:
                with contextlib.suppress(OSError):  # the agent has closed already
                    connection.shutdown(socket.SHUT_WR)
            found = b""
            while block := connection.recv(1 << 16):
                found += block
            return found

    def infer(self, body: dict[str, Any], **more: Any) -> Response:
        return self.ask("POST", "/v2/models/double/infer", body, **more)

    def serves(self) -> bool:
        answer = self.infer({"inputs": [tensor([[1, 2]])]})
        return answer.status == 200 and answer.json["outputs"][0]["data"] == [2, 4]


def tensor(rows: list[list[float]], datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    return {
        "name": "in",
        "datatype": datatype,
        "shape": [len(rows), len(rows[0])],
        "data": [value for row in rows for value in row],
        **more,
    }


@contextmanager
def serving(max_body: int = 1 << 20, **models: Manifest) -> Iterator[Agent]:
    served = {name: Served(name, doubling(manifest)) for name, manifest in (models or {"double": FLOATS}).items()}
    server = AgentServer(Routes("onnxruntime", served), TOKEN, max_body=max_body)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Agent(server)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
