"""The agent's file as a process of its own, on the oldest Python with numpy and one runtime, while it is attacked.

test_security.py has every refusal, within one process; here is what only a process shows: its memory, and that it
lives.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from edgeaudit.devices.agent_file import OLDEST_PYTHON, write_agent
from edgeaudit.devices.agent_process import AgentProcess
from edgeaudit.devices.environments import Environment, find_environment
from edgeaudit.devices.oip.client import OipClient
from edgeaudit.errors import DeviceError, ToolchainError
from tests.agent.test_agent_file import interpreter
from tests.runtimes.served import tflite_artifact

pytestmark = pytest.mark.toolchain
GIGABYTE = 1 << 30
ROOM = 24 << 20
"""Bytes by which the agent's memory may grow at most while a gigabyte is thrown at it."""


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python 3.9 with tflite-runtime; where there is none, the one that tflite-runtime's environment has."""
    name = "python{}.{}".format(*OLDEST_PYTHON)
    if (base := interpreter(name)) is None:
        found: Environment = request.getfixturevalue("tflite_environment")
        return found.python()
    pins = find_environment("tflite-runtime").requirements
    made = Environment("oldest", pins, (OLDEST_PYTHON,), "tflite_runtime.interpreter", "a test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEAUDIT_ENVIRONMENTS", str(tmp_path_factory.mktemp("oldest")))
        patch.setenv("PIP_NO_COMPILE", "0")  # pip's way to say so
        try:
            made.prepare(Path(base))
        except ToolchainError as exc:
            pytest.skip(f"no {name} with tflite-runtime: {exc}")
        return made.python()


@pytest.fixture(scope="module")
def process(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    folder = tmp_path_factory.mktemp("board")
    pyz = write_agent(folder / "edgeaudit-agent.pyz")
    served = tflite_artifact(folder)
    found = AgentProcess([str(python), "-I", str(pyz)], "tflite-runtime", {"model": served.folder}, {})
    yield found
    found.close()


class Board:
    """The agent under attack, and what its memory was at most since `__init__`."""

    def __init__(self, process: AgentProcess) -> None:
        self.client = process.client
        self.port = int(process.client.url.rpartition(":")[2])
        self.pid = process.pid
        self.token = str(process.client._token)
        inputs = self.client.model_metadata("model")["inputs"]
        assert isinstance(inputs, list)
        (tensor,) = inputs
        self.source = str(tensor["name"])
        self.serves()  # whatever the first answer needs is there
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # the peak begins anew
        self.before = psutil.Process(self.pid).memory_info().rss

    @property
    def grown(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        (peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(peak) * 1024 - self.before

    def serves(self) -> bool:
        (answers,) = self.client.infer("model", {self.source: np.array([[1, 2]], np.float32)}).values()
        return bool((answers == [[10, -2]]).all())

    def head(self, *lines: str, token: bool = True) -> bytes:
        said = [f"Authorization: Bearer {self.token}"] if token else []
        return "\r\n".join(["POST /v2/models/model/infer HTTP/1.1", *said, *lines, "", ""]).encode()

    def thrown(self, head: bytes, block: bytes) -> tuple[int, bytes]:
        """(bytes that went out, answer): send `block` over and over until a gigabyte is out or the agent closes."""
        sent, answer = 0, b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(head)
            try:
                while sent < GIGABYTE:
                    sent += connection.send(block)
            except OSError:
                pass
            try:
                while got := connection.recv(1 << 16):
                    answer += got
            except OSError:
                pass
        return sent, answer


@pytest.fixture
def board(process: AgentProcess) -> Iterator[Board]:
    found = Board(process)
    yield found
    assert process.running
    assert found.serves()
    assert found.grown < ROOM


def test_the_python_behind_it_has_numpy_and_one_runtime(board: Board, python: Path) -> None:
    if interpreter("python{}.{}".format(*OLDEST_PYTHON)) is not None:
        assert str(board.client.fingerprint()["python"]).startswith("{}.{}.".format(*OLDEST_PYTHON))
    code = "from importlib import metadata as m; print(*{d.metadata['Name'] for d in m.distributions()})"
    done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"numpy", "tflite-runtime", "pip", "setuptools"}
    assert {probe["kernels"] for probe in board.client.fingerprint()["probes"].values()} == {"exact", "float32"}


@pytest.mark.parametrize("token", [True, False], ids=["with a token", "without"])
@pytest.mark.parametrize(
    ("lines", "block"),
    [
        (["Content-Length: 1073741824"], bytes(1 << 20)),
        (["Transfer-Encoding: chunked"], b"100000\r\n" + bytes(1 << 20) + b"\r\n"),
        (["Content-Length: 67108865"], bytes(1 << 20)),
        (["Content-Length: 1073741824", "Expect: 100-continue"], bytes(1 << 20)),
        (["Content-Length: 1073741824", "Content-Encoding: gzip"], bytes(1 << 20)),
    ],
    ids=["its length", "chunks", "a byte too many", "not waiting", "compressed"],
)
def test_a_gigabyte_body(board: Board, lines: list[str], block: bytes, *, token: bool) -> None:
    """None of it is kept, and long before the end the agent has closed."""
    sent, _ = board.thrown(board.head(*lines, token=token), block)
    assert sent < GIGABYTE // 4


def test_json_up_to_the_limit(board: Board) -> None:
    """Numbers in JSON take many times their bytes in memory, so there is a limit for them below that of a body."""
    data = b"1.5," * ((32 << 20) // 4)
    start = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": ['
    head = board.head(f"Content-Length: {len(start) + len(data)}", "Connection: close")
    with socket.create_connection(("127.0.0.1", board.port), timeout=30) as connection:
        connection.sendall(head)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"the limit is 8388608; send tensors as bytes" in answer


def test_a_gigabyte_of_header(board: Board) -> None:
    for start in (b"", board.head()[:-2] + b"X-Long: "):
        sent, _ = board.thrown(start, b"y" * (1 << 20))
        assert sent < GIGABYTE // 4


def test_sixteen_concurrent_connections(board: Board) -> None:
    """As many as are let in, each with the longest body that is taken, of which a little comes and then nothing."""
    head, begun = board.head(f"Content-Length: {64 << 20}"), []
    board.client.close()
    try:
        for _ in range(16):
            connection = socket.create_connection(("127.0.0.1", board.port), timeout=30)
            connection.sendall(head + bytes(1 << 16))
            begun.append(connection)
        time.sleep(0.5)
        assert board.grown < ROOM  # a length is a promise; nothing is set aside for it
    finally:
        for connection in begun:
            connection.close()
    ends = time.monotonic() + 10
    while time.monotonic() < ends:  # it takes a moment until it notices that they are gone
        try:
            if board.serves():
                return
        except DeviceError:
            time.sleep(0.1)
    pytest.fail("nobody is let in any more")


def test_missing_and_wrong_tokens(board: Board) -> None:
    for token, status in ((None, 401), ("wrong" * 8, 403)):
        stranger = OipClient(board.client.url, token)
        assert not stranger.live()
        for ask in (stranger.server_metadata, stranger.fingerprint, lambda one=stranger: one.model_metadata("model")):
            with pytest.raises(DeviceError, match=rf"refused \({status}\)"):
                ask()
        with pytest.raises(DeviceError, match=rf"refused \({status}\)"):
            stranger.infer("model", {board.source: np.ones((1, 2), np.float32)})


def test_truncated_json(board: Board) -> None:
    tensor = {"name": board.source, "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    whole = json.dumps({"inputs": [tensor]}).encode()
    for cut in range(0, len(whole), 7):
        head = board.head(f"Content-Length: {cut}", "Connection: close")
        with socket.create_connection(("127.0.0.1", board.port), timeout=30) as connection:
            connection.sendall(head + whole[:cut])
            answer = b""
            while got := connection.recv(1 << 16):
                answer += got
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"not JSON" in answer


@pytest.mark.parametrize(
    "name",
    [
        "../../../../etc/passwd",
        "/etc/passwd",
        "model/../../manifest.json",
        "manifest.json",
        "..",
        "~",
        "model\0",
        "C:\\",
    ],
)
def test_a_path_is_not_a_model_name(board: Board, name: str) -> None:
    """The client quotes the name, so that it arrives whole."""
    assert not board.client.ready(name)
    with pytest.raises(DeviceError, match=r"refused \(404\): unknown model"):
        board.client.model_metadata(name)
    with pytest.raises(DeviceError, match=r"refused \(404\)"):
        board.client.infer(name, {board.source: np.ones((1, 2), np.float32)})
