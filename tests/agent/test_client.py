"""The client: how it handles valid and invalid responses, and interoperability with tritonclient."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from edgeaudit.devices.environments import Environment
from edgeaudit.devices.oip.client import OipClient
from edgeaudit.errors import DeviceError, DeviceLost, ProtocolError
from tests.agent.serving import TOKEN, Agent, serving

VALUES = np.array([[1, 2], [-0.5, 3], [np.pi, 1e-30]], np.float32)


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with serving() as found:
        yield found


def test_requests_and_responses(agent: Agent) -> None:
    client = OipClient(agent.url, TOKEN)
    assert client.live()
    assert client.ready()
    assert client.ready("double")
    assert not client.ready("../other")
    assert client.server_metadata()["name"] == "edgeaudit-agent"
    assert client.model_metadata("double")["inputs"] == [{"name": "in", "datatype": "FP32", "shape": [-1, 2]}]
    assert client.facts("double")["sha256"] == "ab" * 32
    for binary in (True, False):
        (answer,) = client.infer("double", {"in": VALUES}, binary=binary).values()
        assert answer.dtype == np.float32
        np.testing.assert_array_equal(answer, VALUES * 2)
        answer[0, 0] = 7  # no window on the message
    client.close()


def test_refusals_carry_the_agents_message(agent: Agent) -> None:
    with pytest.raises(DeviceError, match=r"http://127\.0\.0\.1:\d+ refused \(403\): the token is invalid"):
        OipClient(agent.url, "wrong").model_metadata("double")
    with pytest.raises(DeviceError, match=r"\(401\): a token is required"):
        OipClient(agent.url).model_metadata("double")
    with pytest.raises(DeviceError, match=r"\(404\): unknown model 'other'; served models: double"):
        OipClient(agent.url, TOKEN).infer("other", {"in": VALUES})
    with pytest.raises(DeviceError, match=r"\(400\): .* is FP32, not FP64"):
        OipClient(agent.url, TOKEN).infer("double", {"in": VALUES.astype(np.float64)})
    with pytest.raises(DeviceError, match=r"\(413\): the body has .* bytes"):
        OipClient(agent.url, TOKEN).infer("double", {"in": np.zeros((200_000, 2), np.float32)})
    with pytest.raises(ProtocolError, match="send them as bytes"):
        OipClient(agent.url, TOKEN).infer("double", {"in": VALUES * np.inf}, binary=False)


def test_a_closed_connection_is_reopened(agent: Agent) -> None:
    client = OipClient(agent.url, TOKEN)
    assert client.live()
    assert client._connection.sock is not None
    client._connection.sock.shutdown(2)
    assert client.live()


def test_no_server() -> None:
    with serving() as gone:
        url = gone.url
    with pytest.raises(DeviceError, match=f"{url} cannot be reached: .*refused"):
        OipClient(url, TOKEN).live()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:80",
        "ftp://host",
        "https://",
        "http://",
        "http://host:port",
        "http://a b",
        "http://host/?x=1",
        "http://a..b",
    ],
)
def test_invalid_addresses(url: str) -> None:
    with pytest.raises(DeviceError, match="is not a server address"):
        OipClient(url)


@contextmanager
def answering(body: bytes, headers: Mapping[str, str], status: int = 200) -> Iterator[str]:
    """A server that says the same to everybody."""

    class Always(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  http.server's name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Always)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def outputs(**changes: object) -> bytes:
    return json.dumps(
        {"outputs": [{"name": "out", "datatype": "FP32", "shape": [1, 2], "data": [1, 2], **changes}]}
    ).encode()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"<html>", {}),
        (b"[1]", {}),
        (b"{}", {}),
        (outputs(shape=[2, 2]), {}),
        (outputs(datatype="FLOAT"), {}),
        (outputs(parameters={"binary_data_size": 1 << 40}), {}),
        (outputs(), {"Inference-Header-Content-Length": "9999"}),
        (outputs(), {"Inference-Header-Content-Length": "one"}),
    ],
)
def test_responses_that_violate_the_protocol(body: bytes, headers: dict[str, str]) -> None:
    with answering(body, headers) as url, pytest.raises(ProtocolError):
        OipClient(url).infer("any", {"in": VALUES})


def test_redirections_are_not_followed() -> None:
    with (
        answering(b"", {"Location": "http://127.0.0.1:9/"}, 302) as url,
        pytest.raises(DeviceError, match=r"refused \(302\)"),
    ):
        OipClient(url, TOKEN).server_metadata()


@pytest.mark.toolchain
def test_proxies_from_the_environment_are_ignored(
    request: pytest.FixtureRequest, tflite_environment: Environment
) -> None:
    """As it once did: every test after it looked for tflite-runtime beside tritonclient."""
    python = tflite_environment.python()
    assert Path(request.getfixturevalue("others")).is_file()
    assert tflite_environment.python() == python


TRITON = """
import json, sys
import numpy as np
from tritonclient.http import InferInput, InferenceServerClient, InferRequestedOutput
from tritonclient.utils import InferenceServerException

address, token = sys.argv[1:]
client = InferenceServerClient(address)
headers = {"Authorization": f"Bearer {token}"}
assert client.is_server_live(headers) and client.is_server_ready(headers)
assert client.is_model_ready("double", headers=headers) and not client.is_model_ready("other", headers=headers)
assert not client.is_server_live()
assert client.get_server_metadata(headers)["name"] == "edgeaudit-agent"
metadata = client.get_model_metadata("double", headers=headers)
assert metadata["inputs"] == [{"name": "in", "datatype": "FP32", "shape": [-1, 2]}], metadata

values = np.array([[1, 2], [-0.5, 3], [np.pi, 1e-30]], np.float32)
def asked(given, datatype, in_bytes, out_bytes, name="in", shape=None):
    tensor = InferInput(name, shape or list(given.shape), datatype)
    tensor.set_data_from_numpy(given, binary_data=in_bytes)
    wanted = [InferRequestedOutput("out", binary_data=out_bytes)]
    # A copy: tritonclient 2.73 writes the length of the JSON into the caller's headers, and leaves it there.
    return client.infer("double", [tensor], outputs=wanted, headers=dict(headers), request_id="7")

for in_bytes in (True, False):
    for out_bytes in (True, False):
        answer = asked(values, "FP32", in_bytes, out_bytes)
        assert answer.as_numpy("out").dtype == np.float32
        assert np.array_equal(answer.as_numpy("out"), values * 2)
        assert answer.get_response()["id"] == "7"
tensor = InferInput("in", [3, 2], "FP32")
tensor.set_data_from_numpy(values)
assert np.array_equal(client.infer("double", [tensor], headers=dict(headers)).as_numpy("out"), values * 2)

said = {}
for what, arguments in {
    "dtype": (values.astype(np.float64), "FP64", True, True),
    "shape": (np.zeros((3, 5), np.float32), "FP32", True, True),
    "name": (values, "FP32", True, True, "other"),
}.items():
    try:
        asked(*arguments)
    except InferenceServerException as exc:
        said[what] = [exc.status(), exc.message()]
try:
    client.get_model_metadata("double", headers={"Authorization": "Bearer wrong"})
except InferenceServerException as exc:
    said["token"] = [exc.status(), exc.message()]
print(json.dumps(said))
"""


@pytest.mark.toolchain
def test_tritonclient(others: str, agent: Agent) -> None:
    """The reference client against our agent: health, metadata, tensors as bytes and as JSON, refusals."""
    done = subprocess.run(
        [others, "-I", "-c", TRITON, agent.url.removeprefix("http://"), TOKEN],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "dtype": ["400", "the tensor 'in' of 'double' is FP32, not FP64"],
        "shape": [
            "400",
            "the tensor 'in' of 'double' has the shape [-1, 2], where -1 is any length from 1, not [3, 5]",
        ],
        "name": ["400", "the model 'double' takes the tensor 'in', not ['other']"],
        "token": ["403", "the token is invalid"],
    }
    assert agent.serves()


def test_a_truncated_response_is_a_lost_connection() -> None:
    """What a tunnel that dies in the middle of an answer leaves: asking again may help."""
    cut = b'{"name": "agent", "vers'
    with answering(cut, {"Content-Length": "400"}) as url, pytest.raises(DeviceLost, match="cannot be reached"):
        OipClient(url).server_metadata()
    head = {"Content-Length": "400", "Inference-Header-Content-Length": "155"}
    for body in (b"", cut):
        with answering(body, head) as url, pytest.raises(DeviceLost):
            OipClient(url).infer("m", {"x": np.zeros((1, 2), np.float32)})


@contextmanager
def saying(parts: Iterable[bytes], pause: float) -> Iterator[str]:
    """A server that answers a request with these bytes, one part after another with pauses."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    for part in parts:
                        connection.sendall(part)
                        time.sleep(pause)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.close()


DRIPS = {
    "a body": [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b"x"] * 200],
    "a head": [b"HTTP/1.1 200 OK\r\nX: ", *[b"x"] * 200],
    "not yet, not yet": [b"HTTP/1.1 100 Continue\r\n\r\n"] * 200,
}


@pytest.mark.parametrize("parts", DRIPS.values(), ids=DRIPS)
def test_a_response_that_drips_has_a_deadline(parts: list[bytes]) -> None:
    with saying(parts, 0.1) as url:
        client, begun = OipClient(url, seconds=1.0), time.monotonic()
        with pytest.raises(DeviceLost, match=r"did not answer within 1 s"):
            client.server_metadata()
        assert time.monotonic() - begun < 10


def test_a_long_error_is_shortened() -> None:
    body = json.dumps({"error": "no " * 100_000}).encode()
    with answering(body, {}, status=400) as url, pytest.raises(DeviceError) as caught:
        OipClient(url).server_metadata()
    assert len(str(caught.value)) < 600


def test_more_json_than_an_answer_needs_is_not_parsed() -> None:
    body = b"[" * (33 << 20)
    with answering(body, {}) as url, pytest.raises(ProtocolError, match=r"bytes of JSON; the limit is 33554432"):
        OipClient(url).server_metadata()


@pytest.mark.parametrize("after", ["9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_nobody_waits_longer_than_an_hour(after: str) -> None:
    with answering(b"{}", {"Retry-After": after}, status=503) as url, pytest.raises(DeviceLost) as caught:
        OipClient(url).server_metadata()
    assert caught.value.after == 3600
