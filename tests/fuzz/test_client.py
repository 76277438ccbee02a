"""Whatever a server answers, a query ends in answers or in one sentence. 60 servers here, 500 by `make fuzz`."""

from __future__ import annotations

import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from edgeaudit.devices.device_runtime import device_facts, on_device
from edgeaudit.devices.oip.client import OipClient
from edgeaudit.devices.querying import QueryPolicy
from edgeaudit.endpoint import Endpoint
from edgeaudit.errors import EdgeAuditError
from tests.fuzz.damage import count, damaged, require_one_sentence
from tests.fuzz.json_values import mutated
from tests.runtimes.served import onnx_artifact

AGENT, HEAD = "edgeaudit_fingerprint", "Inference-Header-Content-Length"


def _good(sha256: str, agent: bool) -> dict[str, Any]:
    """path -> the answer of a server that serves the artifact."""
    served = {
        "file": "model.onnx", "kind": "onnx", "sha256": sha256, "bytes": 100, "options": {"batch": 4},
        "engaged": ["CPU"], "engines": [], "answered": 0,
    }  # fmt: skip
    return {
        "/v2": {"name": "server", "version": "1", "extensions": ["binary_tensor_data", *[AGENT] * agent]},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
        "/v2/models/model/ready": {"name": "model", "ready": True},
        "/v2/models/model": {
            "name": "model", "versions": ["1"], "platform": "onnxruntime_onnx",
            "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 2]}],
        },
        "/v2/edgeaudit/fingerprint": {
            "agent": "0.1.0", "numpy": "2.0", "threads": 1, "cores": 4, "machine": "x86_64", "cpu": "x",
            "isa": ["avx2"], "os": "Linux", "libc": "glibc 2.36", "python": "3.11",
            "runtime": {"name": "onnxruntime", "versions": {"onnxruntime": "1.20"}},
            "models": {"model": served}, "probes": {"p": {"answers": [1.0, "NaN"], "kernels": "x"}},
        },
        "/v2/edgeaudit/models/model": served,
        "/v2/edgeaudit/models/model/latency": {"milliseconds": [1.0, 2.0], "cpu_share": 1.0},
    }  # fmt: skip


class _Hostile:
    """A server that answers well, but for one path whose every answer it spoils."""

    def __init__(self, answers: dict[str, Any], seed: str) -> None:
        self._answers = answers
        self._rng = random.Random(seed)  # noqa: S311  no secret
        self._bad = self._rng.choice([*answers, *["/v2/models/model/infer"] * 2])

    def answer(self, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        """All bytes of the response to a request."""
        rng, spoiled = self._rng, path == self._bad
        found, tail = self._inferred(body, headers) if path.endswith("/infer") else (self._answers.get(path, {}), b"")
        status, extra = "200 OK", ""
        if spoiled and rng.random() < 0.15:
            found = {"error": rng.choice(("\x1b]0;x\x07", "x" * 10_000, "\ud800", 1, None, ["\n" * 50]))}
            status, extra = rng.choice(STATUSES), rng.choice(RETRIES)
        elif spoiled:
            found = mutated(found, rng)
        text = json.dumps(found).encode("utf-8", "surrogatepass")
        content, length = text + tail, str(len(text + tail))
        if tail or rng.random() < 0.1:
            extra += f"{HEAD}: {len(text)}\r\n"
        if not spoiled:
            return _response(status, length, extra, content)
        if rng.random() < 0.2:
            content = damaged(content, rng)
            length = str(len(content))
        if rng.random() < 0.15:
            length = rng.choice(LENGTHS)
        if rng.random() < 0.1:
            extra += rng.choice(ROWS)
        whole = _response(status, length, extra, content)
        return damaged(whole, rng) if rng.random() < 0.1 else whole

    def _inferred(self, body: bytes, headers: dict[str, str]) -> tuple[Any, bytes]:
        head = json.loads(body[: int(headers.get(HEAD.lower(), len(body)))])
        n = head["inputs"][0]["shape"][0]
        about: Any = {"name": "logits", "datatype": "FP32", "shape": [n, 2]}
        if self._rng.random() < 0.5:
            about["data"] = [0.0] * (2 * n)
            return {"model_name": "model", "outputs": [about]}, b""
        about["parameters"] = {"binary_data_size": 8 * n}
        return {"model_name": "model", "outputs": [about]}, bytes(8 * n)


STATUSES = ("400 Bad", "403 \x1b[2J", "404 N", "429 Wait", "500 E", "503 Later", "301 Moved", "999 ?")
RETRIES = ("", "Retry-After: 0\r\n", "Retry-After: -5\r\n", "Retry-After: Thu, 99\r\n", "Location: /\r\n")
LENGTHS = ("-1", "0", "99999999", "1" * 5000, "x", "\u0663", "")
ROWS = (
    f"{HEAD}: -1\r\n", f"{HEAD}: {10**30}\r\n", "X: y\r\n" * 200, f"X: {'y' * 70_000}\r\n",
    "Transfer-Encoding: chunked\r\n", "\x00: \x00\r\n", " folded\r\n",
)  # fmt: skip


def _response(status: str, length: str, rows: str, content: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{rows}Connection: close\r\n\r\n".encode() + content


@contextmanager
def _served(hostile: _Hostile) -> Iterator[str]:
    def serve(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with suppress(OSError), connection, connection.makefile("rb") as reader:
                path = reader.readline().decode("latin-1").split(" ")[1]
                rows = (row.decode("latin-1").rstrip().lower() for row in iter(reader.readline, b"\r\n"))
                headers = dict(row.split(": ", 1) for row in rows)
                connection.sendall(hostile.answer(path, reader.read(int(headers.get("content-length", "0"))), headers))

    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _used(url: str, artifact: Any) -> None:
    """What an audit does with a server."""
    endpoint = Endpoint(url, model="model")
    try:
        kind = on_device(endpoint, "onnxruntime", QueryPolicy("board", retries=0))
        runtime = kind(artifact, kind.spec.options({"batch": 4}))
        try:
            answers = runtime.query(np.ones((6, 2), np.float32))
            assert answers.shape == (6, 2)
            assert answers.dtype == np.float32
            facts = runtime.session.facts("model")
            json.dumps([runtime.session.inner.fingerprint(), list(facts.get("engines") or ()), runtime.engaged()])
            json.dumps(device_facts(endpoint, "onnxruntime"))
            with closing(OipClient(url)) as client:
                times, share = client.time("model", {"input": np.ones((1, 2), np.float32)}, 2, 0.1)
            assert all(isinstance(value, float) for value in (*times, share))
        finally:
            runtime.close()
    finally:
        device_facts.cache_clear()


def test_any_server_gives_answers_or_one_sentence(tmp_path: Path) -> None:
    artifact = onnx_artifact(tmp_path)
    seen: Counter[str] = Counter()
    for k in range(count(60, 500)):
        with _served(_Hostile(_good(artifact.manifest.sha256, agent=k % 2 == 0), f"server-{k}")) as url:
            try:
                _used(url, artifact)
            except EdgeAuditError as exc:
                require_one_sentence(exc, f"server-{k}")
                seen[type(exc).__name__] += 1
            else:
                seen["answers"] += 1
    assert seen["answers"] > 5, seen
    assert seen["ProtocolError"] > 5, seen
