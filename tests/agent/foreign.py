"""A server of the Open Inference Protocol other than edgeaudit's agent, in this process, with scripted replies."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from edgeaudit.agent.tensors import join, read_tensors, split, written


def described(name: str, datatype: str, shape: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


@dataclass
class Foreign:
    """Answers `compute` of the one input; reads JSON alone unless `extensions` name more.

    refusals: (status, headers) of the next answers, taken from the front. heard: (path, body) of each POST.
    drops: connections that end without an answer to a POST.
    """

    name: str = "foreign"
    version: str = "1.0"
    extensions: list[str] = field(default_factory=list)
    model: str = "theirs"
    inputs: list[dict[str, Any]] = field(default_factory=lambda: [described("x", "FP32", [-1, 2])])
    outputs: list[dict[str, Any]] = field(default_factory=lambda: [described("y", "FP32", [-1, 2])])
    ready: bool = True
    compute: Callable[[Any], Any] = lambda values: values * np.asarray(2, values.dtype)
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    drops: int = 0
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    port: int = 0

    def get(self, path: str) -> dict[str, Any] | None:
        model = f"/v2/models/{self.model}"
        about = {"name": self.model, "versions": ["3"], "platform": "theirs"}
        found: dict[str, dict[str, Any]] = {
            "/v2": {"name": self.name, "version": self.version, "extensions": self.extensions},
            "/v2/health/live": {},
            **({"/v2/health/ready": {}, f"{model}/ready": {}} if self.ready else {}),
            model: {**about, "inputs": self.inputs, "outputs": self.outputs},
        }
        return found.get(path)

    def post(self, body: bytes, head_bytes: int | None) -> tuple[bytes, int | None]:
        binary = "binary_tensor_data" in self.extensions
        assert binary or head_bytes is None
        head, tail = split(body, head_bytes)
        (values,) = read_tensors(head["inputs"], tail).values()
        outputs = head["outputs"]
        assert isinstance(outputs, list)
        answers = {wanted["name"]: self.compute(values) for wanted in outputs}
        entries = [written(name, answer, binary=binary) for name, answer in answers.items()]
        blobs = [blob for _, blob in entries if blob is not None]
        return join({"outputs": [entry for entry, _ in entries]}, blobs)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running(foreign: Foreign) -> Iterator[Foreign]:
    """Serve on a free port, or on the one that it had before."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            found = foreign.get(self.path)
            body = json.dumps(found if found is not None else {"error": f"nothing at {self.path}"}).encode()
            self._send(200 if found is not None else 404, body, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            foreign.heard.append((self.path, body))
            if foreign.drops:
                foreign.drops -= 1
                self.close_connection = True
                return
            length = self.headers.get("Inference-Header-Content-Length")
            answer, head_bytes = foreign.post(body, None if length is None else int(length))
            self._send(200, answer, {} if head_bytes is None else {"Inference-Header-Content-Length": str(head_bytes)})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            foreign.tokens.append(self.headers.get("Authorization"))
            if foreign.refusals:
                status, headers = foreign.refusals.pop(0)
                body = b'{"error": "not now"}'
            self.send_response_only(status)
            for name, value in {"Date": self.date_time_string(), **headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", foreign.port), Handler)
    server.daemon_threads = True
    foreign.port = int(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield foreign
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
