"""Any request to the agent is answered, and it still serves afterwards. 300 here, 10,000 by `make fuzz`."""

from __future__ import annotations

import json
import random
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.agent.serving import TOKEN, Agent, serving, tensor
from tests.fuzz.damage import count, damaged, require_sentence
from tests.fuzz.json_values import mutated

HEAD = "Inference-Header-Content-Length"
INFER = "/v2/models/double/infer"
PATHS = (
    "/v2/edgeaudit/models/double/latency", "/v2", "/v2/health/live", "/v2/models/double", "/v2/edgeaudit/fingerprint",
    "/v2/models/%00/infer", "/v2/models/../x", "/", "//", "/v2/models/" + "x" * 5000, f"{INFER}?x=%ff", "/v2/\u00e9",
    "*", "http://x/v2", "",
)  # fmt: skip
HEADERS = (
    ("Content-Length", "-1"), ("Content-Length", "0"), ("Content-Length", "9" * 20), ("Content-Length", "1e3"),
    ("Content-Length", "\u0663"), ("Transfer-Encoding", "chunked"), ("Content-Encoding", "gzip"), (HEAD, "0"),
    (HEAD, "-4"), (HEAD, "99999"), (HEAD, "\u0663"), ("Expect", "100-continue"), ("Connection", "upgrade"),
    ("Authorization", "Basic x"), ("Authorization", "Bearer \u00fc"), ("X", "y" * 70_000), ("Host", "\x00"),
    ("Cookie", "\x1b[2J"),
)  # fmt: skip
METHODS, VERSIONS = ("GET", "HEAD", "PUT", "post", "P\x00ST", ""), ("HTTP/1.0", "HTTP/9.9", "HTTP/x", "")


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with serving(max_body=1 << 16) as found:
        yield found


def _request(rng: random.Random) -> bytes:
    head = mutated(
        {
            "id": "1",
            "inputs": [tensor([[1, 2], [3, 4]])],
            "outputs": [{"name": "out", "parameters": {"binary_data": True}}],
            "parameters": {"binary_data_output": True, "repetitions": 1, "seconds": 0.01},
        },
        rng,
    )
    body = json.dumps(head).encode("utf-8", "surrogatepass")
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": "x", "Connection": "close"}
    if rng.random() < 0.15:
        blob = bytes(rng.randrange(256) for _ in range(rng.choice((0, 8, 16, 17))))
        headers[HEAD] = str(len(body))
        body += blob
    if rng.random() < 0.15:
        body = damaged(body, rng)[: 1 << 16]
    headers["Content-Length"] = str(len(body))
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if rng.random() < 0.2:
        name, value = rng.choice(HEADERS)
        lines.insert(rng.randrange(len(lines) + 1), f"{name}: {value}")
    method, path, version = (
        rng.choice(odd) if rng.random() < 0.1 else usual
        for usual, odd in (("POST", METHODS), (INFER, PATHS), ("HTTP/1.1", VERSIONS))
    )
    text = f"{method} {path} {version}\r\n" + "\r\n".join(lines) + "\r\n\r\n"
    whole = text.encode("utf-8") + body
    return damaged(whole, rng) if rng.random() < 0.15 else whole


def test_any_request_is_answered_in_one_sentence(agent: Agent, capfd: pytest.CaptureFixture[str]) -> None:
    seen: Counter[str] = Counter()
    for k in range(count(300, 10_000)):
        rng = random.Random(f"agent-{k}")  # noqa: S311  no secret
        sent = _request(rng)
        try:
            answer = agent.raw(sent, close=True)
        except (ConnectionResetError, BrokenPipeError):  # it was refused before all of it was sent
            seen["reset"] += 1
            continue
        except socket.timeout:  # noqa: UP041
            pytest.fail(f"no end within 20 seconds: {sent[:500]!r}")
        if not answer:  # not even a request line
            seen["none"] += 1
            continue
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head.split(b" ")[1].decode() if head.startswith(b"HTTP/") else "0.9"
        seen[status] += 1
        assert status != "500", (sent[:2000], body[:500])
        if body.startswith(b'{"error"'):
            # What follows the body of a request is another request, whose answer follows this one.
            require_sentence(json.JSONDecoder().raw_decode(body.decode())[0]["error"], sent[:500])
    assert seen["200"] > 10, seen  # some of them are valid
    assert seen["400"] > 50, seen
    assert agent.serves()
    assert "Traceback" not in capfd.readouterr().err
