"""What devices report is checked when it arrives."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from edgeaudit.devices import reported
from edgeaudit.errors import ProtocolError

WHERE = "ssh://board"
RUNTIME = {"name": "litert", "versions": {"ai-edge-litert": "2.3.0"}}


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (reported.fingerprint, {}),
        (reported.fingerprint, {"isa": None, "cpu": 7, "runtime": RUNTIME, "of a newer agent": [1]}),
        (reported.served_facts, {"sha256": "ab", "options": {"batch": 1}, "engaged": ["XNNPACK"]}),
        (reported.agent_facts, {"agent": "0.1.0", "versions": {"ai-edge-litert": None}}),
        (reported.serving, {"url": "http://127.0.0.1:1", "pid": 1}),
        (reported.place, {"folder": "/home/me/edgeaudit-a", "missing": [], "python": "3.9.2"}),
        (reported.status, {"running": False, "about": {}}),
        (reported.stopped, {"stopped": []}),
    ],
)
def test_messages_as_they_should_be(read: Callable[..., object], message: Mapping[str, object]) -> None:
    assert read(message, WHERE) == message


@pytest.mark.parametrize(
    ("read", "message", "words"),
    [
        (reported.fingerprint, {"probes": ["exact"]}, r"reports \['exact'\] as 'probes', which must be a dict"),
        (reported.fingerprint, {"runtime": {"name": "litert"}}, "has no name or no versions"),
        (reported.fingerprint, {"runtime": {"versions": {}}}, "has no name or no versions"),
        (reported.fingerprint, {"runtime": "litert"}, "as 'runtime'"),
        (reported.served_facts, {"engaged": "XNNPACK"}, "'XNNPACK' as 'engaged', which must be a list"),
        (reported.agent_facts, {"versions": {}}, "reports no 'agent'"),
        (reported.agent_facts, {"agent": "0.1.0", "versions": None}, "reports no 'versions'"),
        (reported.serving, {"url": "http://127.0.0.1:1"}, "reports no 'pid'"),
        (reported.serving, {"url": 1, "pid": 1}, "1 as 'url', which must be a str"),
        (reported.place, {"folder": "/home/me/edgeaudit-a"}, "reports no 'missing'"),
        (reported.status, {"running": True}, "reports no 'about'"),
        (reported.status, {"running": "yes", "about": {}}, "'yes' as 'running'"),
        (reported.stopped, {}, "reports no 'stopped'"),
    ],
)
def test_other_messages_are_refused(read: Callable[..., object], message: Mapping[str, object], words: str) -> None:
    with pytest.raises(ProtocolError, match=words) as raised:
        read(message, WHERE)
    assert str(raised.value).startswith(WHERE)


def test_failures() -> None:
    assert reported.failure({"url": "http://127.0.0.1:1", "pid": 1}) is None
    assert reported.failure({"error": "no space", "type": "DeviceError"}) == {
        "error": "no space",
        "type": "DeviceError",
    }
    assert reported.failure({"error": 28}) == {"error": "28", "type": ""}
