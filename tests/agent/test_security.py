"""Who is let in, how much is read, and that the agent serves on whatever was sent."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from edgeaudit.agent import server
from tests.agent.serving import FLOATS, TOKEN, Agent, serving, tensor

GOOD = json.dumps({"inputs": [tensor([[1, 2]])]}).encode()
AUTHORISED = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
POST = b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def agent() -> Iterator[Agent]:
    with serving() as found:
        yield found
        assert found.serves()  # whatever was done to it


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


@pytest.mark.parametrize(
    "path", ["/v2", "/v2/health/live", "/v2/models/double", "/v2/edgeaudit/fingerprint", "/nothing", "/"]
)
def test_nothing_without_a_token(agent: Agent, path: str) -> None:
    answer = agent.ask("GET", path, token=None)
    assert (answer.status, answer.json) == (401, {"error": "a token is required"})
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "0", TOKEN.upper(), "\u00e9" * 16])
def test_a_wrong_token(agent: Agent, token: str) -> None:
    for method, body in (("GET", None), ("POST", GOOD)):
        answer = agent.ask(method, "/v2/models/double/infer", body, {"Authorization": f"Bearer {token}"}, token=None)
        assert (answer.status, answer.json) == (403, {"error": "the token is invalid"})


@pytest.mark.parametrize("value", [TOKEN, f"Basic {TOKEN}", f"Token {TOKEN}"])
def test_a_token_of_another_scheme(agent: Agent, value: str) -> None:
    assert agent.ask("GET", "/v2", headers={"Authorization": value}, token=None).status == 403


def test_two_tokens(agent: Agent) -> None:
    found = agent.raw(b"GET /v2 HTTP/1.0\r\nAuthorization: Bearer wrong\r\n" + AUTHORISED + b"\r\n")
    assert status(found) == 403


def test_a_gigabyte_is_refused_by_its_content_length(agent: Agent) -> None:
    """Nothing of the body is sent, and the answer comes."""
    found = agent.raw(POST + AUTHORISED + b"Content-Length: 1073741824\r\n\r\n", close=True)
    assert status(found) == 413
    assert b"1073741824 bytes; the limit is 1048576" in found


def test_a_gigabyte_that_is_sent_anyway(agent: Agent) -> None:
    """The agent stops reading; whoever sends is cut off long before the end."""
    with socket.create_connection(("127.0.0.1", agent.port), timeout=20) as connection:
        connection.sendall(POST + AUTHORISED + b"Content-Length: 1073741824\r\n\r\n")
        sent = 0
        with pytest.raises(OSError):  # noqa: PT011  reset or broken pipe, as the system has it
            while sent < 1 << 30:
                sent += connection.send(bytes(1 << 20))
    assert sent < 256 << 20


def test_a_gigabyte_without_a_token(agent: Agent) -> None:
    assert status(agent.raw(POST + b"Content-Length: 1073741824\r\n\r\n", close=True)) == 401


def test_expect_100_continue_is_refused(agent: Agent) -> None:
    waiting = b"Expect: 100-continue\r\nContent-Length: "
    assert status(agent.raw(POST + AUTHORISED + waiting + b"1073741824\r\n\r\n", close=True)) == 413
    assert status(agent.raw(POST + waiting + b"5\r\n\r\n", close=True)) == 401
    length = str(len(GOOD)).encode()
    found = agent.raw(POST + AUTHORISED + b"Connection: close\r\n" + waiting + length + b"\r\n\r\n" + GOOD)
    assert found.startswith(b"HTTP/1.1 100 Continue")
    assert b"HTTP/1.1 200 OK" in found


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"", 411),
        (b"Transfer-Encoding: chunked\r\n", 411),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 411),
        (b"Content-Length: -5\r\n", 400),
        (b"Content-Length: five\r\n", 400),
        (b"Content-Length: 0x10\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        (b"Content-Length: 99999999999999999999999\r\n", 400),
        (b"Content-Encoding: gzip\r\nContent-Length: 5\r\n", 415),
    ],
)
def test_bodies_of_unknown_size(agent: Agent, header: bytes, expected: int) -> None:
    assert status(agent.raw(POST + AUTHORISED + header + b"\r\nhello", close=True)) == expected


def test_truncated_json(agent: Agent) -> None:
    for cut in (0, 1, len(GOOD) // 2, len(GOOD) - 1):
        answer = agent.ask("POST", "/v2/models/double/infer", GOOD[:cut])
        assert answer.status == 400
        assert "not JSON" in answer.json["error"]


def test_a_body_that_ends_before_its_length(agent: Agent) -> None:
    found = agent.raw(POST + AUTHORISED + b"Content-Length: 500\r\n\r\n" + GOOD, close=True)
    assert status(found) == 400
    assert f"ended after {len(GOOD)} of 500 bytes".encode() in found


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"inputs":' * 50_000, b"\xff\xfe", b"[]", b"null", b'{"inputs": [NaN]}', b"9" * 100_000],
    ids=["brackets", "objects", "no utf-8", "list", "null", "NaN", "digits"],
)
def test_malicious_or_invalid_json(agent: Agent, body: bytes) -> None:
    answer = agent.ask("POST", "/v2/models/double/infer", body)
    assert answer.status == 400
    assert set(answer.json) == {"error"}


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2fnothing.onnx",
        "nothing.onnx",
        "%00",
        "double%00",
        "double/..",
        ".",
    ],
)
def test_a_path_is_not_a_model_name(agent: Agent, name: str) -> None:
    for method, path, body in (("GET", "", None), ("GET", "/ready", None), ("POST", "/infer", GOOD)):
        answer = agent.ask(method, f"/v2/models/{name}{path}", body)
        assert answer.status == 404
        assert set(answer.json) == {"error"}


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v2/models/double/infer", 404),
        ("POST", "/v2/models/double", 404),
        ("POST", "/v2", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/double/versions/2", 404),
        ("GET", "/v2/edgeaudit/models/other", 404),
        ("PUT", "/v2/models/double", 501),
        ("DELETE", "/v2/models/double", 501),
    ],
)
def test_invalid_paths_and_methods(agent: Agent, method: str, path: str, expected: int) -> None:
    answer = agent.ask(method, path, b"" if method != "GET" else None)
    assert answer.status == expected
    assert set(answer.json) == {"error"}


@pytest.mark.parametrize(
    "line", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000]
)
def test_invalid_http(agent: Agent, line: bytes) -> None:
    agent.raw(line, close=True)


def test_endless_headers(agent: Agent) -> None:
    assert status(agent.raw(b"GET /v2 HTTP/1.1\r\n" + b"X: y\r\n" * 200, close=True)) == 431


def test_a_refused_body_is_not_the_next_request(agent: Agent) -> None:
    """Smuggling: what follows a refused header would be a request with somebody else's token."""
    inside = b"GET /v2/health/live HTTP/1.1\r\n" + AUTHORISED + b"\r\n"
    for path, header in ((b"/v2/models/none/infer", AUTHORISED), (b"/v2/models/double/infer", b"")):
        length = str(len(inside)).encode()
        found = agent.raw(
            b"POST " + path + b" HTTP/1.1\r\n" + header + b"Content-Length: " + length + b"\r\n\r\n" + inside,
            close=True,
        )
        assert found.count(b"HTTP/1.1") == 1


def _strangers(agent: Agent, count: int) -> list[socket.socket]:
    """Connections that have sent half a head."""
    found = [socket.create_connection(("127.0.0.1", agent.port), timeout=5) for _ in range(count)]
    for connection in found:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nX: ")
    return found


def test_strangers_that_drip_bytes_do_not_lock_the_owner_out(agent: Agent) -> None:
    slow = _strangers(agent, 64)
    try:
        for _ in range(5):
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(b"a")
            begun = time.monotonic()
            assert agent.serves()
            assert time.monotonic() - begun < 1
            time.sleep(0.1)
    finally:
        for connection in slow:
            connection.close()


def test_the_oldest_stranger_goes_and_is_told_why(agent: Agent) -> None:
    slow = _strangers(agent, 33)
    try:
        first = slow[0].recv(1000)
        assert first.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"Retry-After: 1" in first
        slow[-1].settimeout(0.2)
        with pytest.raises(TimeoutError):
            slow[-1].recv(1)
    finally:
        for connection in slow:
            connection.close()


def test_a_head_has_a_deadline_however_it_drips(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.5)
    begun, connection = time.monotonic(), _strangers(agent, 1)[0]
    with connection:
        connection.settimeout(0.1)
        answer = b""
        while not answer and time.monotonic() - begun < 10:
            with contextlib.suppress(TimeoutError):
                connection.sendall(b"a")
                answer = connection.recv(1000)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert time.monotonic() - begun >= 0.5


def test_forty_clients_at_once_are_all_served(agent: Agent) -> None:
    errors: list[object] = []

    def ask() -> None:
        client = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=30)
        try:
            for _ in range(10):
                client.request("POST", "/v2/models/double/infer", GOOD, {"Authorization": f"Bearer {TOKEN}"})
                answer = client.getresponse()
                if answer.status != 200 or b"outputs" not in answer.read():
                    errors.append(answer.status)
        except OSError as exc:
            errors.append(exc)
        finally:
            client.close()

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_more_known_connections_than_the_agent_keeps_are_told_to_come_back(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_KNOWN", 1)
    ask = b"GET /v2/health/live HTTP/1.1\r\n" + AUTHORISED + b"\r\n"
    with socket.create_connection(("127.0.0.1", agent.port), timeout=5) as kept:
        assert _asked(kept, ask) == 200
        assert status(agent.raw(ask, close=True)) == 503
        assert _asked(kept, ask) == 200


def _asked(connection: socket.socket, request: bytes) -> int:
    """The status of a response with the body {"live": true}."""
    connection.sendall(request)
    answer = b""
    while b"true}" not in answer:
        answer += connection.recv(1000)
    return status(answer)


def test_a_request_that_gets_no_turn_is_told_to_come_back(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_TURN_SECONDS", 0.1)
    head = POST + AUTHORISED + b"Content-Length: 100\r\n\r\n"
    stalled = [socket.create_connection(("127.0.0.1", agent.port), timeout=5) for _ in range(16)]
    try:
        for connection in stalled:
            connection.sendall(head)
        time.sleep(0.3)
        found = agent.raw(b"GET /v2/health/live HTTP/1.1\r\n" + AUTHORISED + b"\r\n", close=True)
        assert status(found) == 503
        assert b"too much to do" in found
    finally:
        for connection in stalled:
            connection.close()
    time.sleep(0.3)


def test_it_listens_only_on_the_loopback_interface(agent: Agent) -> None:
    from edgeaudit.agent.server import AgentServer

    assert agent.url.startswith("http://127.0.0.1:")
    with pytest.raises(ValueError, match="at least 16 characters"):
        AgentServer(None, "short")  # type: ignore[arg-type]


def test_one_connection_serves_many_requests(agent: Agent) -> None:
    length = str(len(GOOD)).encode()
    one = POST + AUTHORISED + b"Content-Length: " + length + b"\r\n\r\n" + GOOD
    found = agent.raw(one * 3, close=True)
    assert found.count(b"HTTP/1.1 200 OK") == 3


def test_responses_do_not_reveal_the_python_version(agent: Agent) -> None:
    assert agent.ask("GET", "/v2").headers["Server"] == "edgeaudit-agent"
    assert FLOATS.file not in agent.ask("GET", "/v2").body.decode()
