"""What devices report, checked when it arrives: JSON objects -> the types of `edgeaudit.agent.messages`.

A device may run an agent of another version, or something else altogether. So every field that edgeaudit reads by its
structure is checked here, once; fields that are only shown or compared may be anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from edgeaudit.agent.messages import (
    AgentFacts,
    Failure,
    Fingerprint,
    Place,
    ServedFacts,
    Serving,
    Status,
    Stopped,
)
from edgeaudit.errors import ProtocolError

__all__ = ["agent_facts", "failure", "fingerprint", "place", "served_facts", "serving", "status", "stopped"]

_FINGERPRINT = {"isa": list, "runtime": dict, "models": dict, "probes": dict}
_SERVED = {"options": dict, "engaged": list, "engines": list}
_MOST_RECORDS = 1 << 31


def fingerprint(message: Mapping[str, object], where: str) -> Fingerprint:
    """An agent's fingerprint. where: its address; `ProtocolError` names it if a field has the wrong structure."""
    _require(message, _FINGERPRINT, where)
    if (runtime := message.get("runtime")) is not None:
        _require_runtime(runtime, where)
    return cast("Fingerprint", message)


def served_facts(message: Mapping[str, object], where: str) -> ServedFacts:
    """What an agent reports about an artifact that it serves. Raises as `fingerprint` does."""
    _require(message, _SERVED, where)
    options, engaged, engines = (message.get(field) for field in _SERVED)
    if isinstance(options, dict) and options and not _is_batch(options.get("batch")):
        raise ProtocolError(f"{where} reports the batch {options.get('batch')!r}, which must be an integer from 1")
    if not all(isinstance(one, str) for one in _items(engaged)):
        raise ProtocolError(f"{where} reports {engaged!r} as 'engaged', which must be a list of names")
    if not all(isinstance(one, dict) for one in _items(engines)):
        raise ProtocolError(f"{where} reports {engines!r} as 'engines', which must be a list of objects")
    return cast("ServedFacts", message)


def failure(message: Mapping[str, object]) -> Failure | None:
    """The error that an agent announces or the receiver replies; None if the message is none."""
    if "error" not in message:
        return None
    return {"error": str(message["error"]), "type": str(message.get("type", ""))}


def agent_facts(message: Mapping[str, object], where: str) -> AgentFacts:
    """The announcement of an agent with `--facts`. Raises as `fingerprint` does."""
    _require(message, {"isa": list, "versions": dict}, where)
    _require_present(message, ("agent", "versions"), where)
    return cast("AgentFacts", message)


def serving(message: Mapping[str, object], where: str) -> Serving:
    """The announcement of an agent that serves. Raises as `fingerprint` does."""
    _require_all(message, {"url": str, "pid": int}, where)
    return cast("Serving", message)


def place(message: Mapping[str, object], where: str) -> Place:
    """The receiver's first reply to a `RunRequest`. Raises as `fingerprint` does."""
    _require_all(message, {"folder": str, "missing": list}, where)
    return cast("Place", message)


def status(message: Mapping[str, object], where: str) -> Status:
    """The receiver's reply to a `StatusRequest`. Raises as `fingerprint` does."""
    _require_all(message, {"running": bool, "about": dict}, where)
    return cast("Status", message)


def stopped(message: Mapping[str, object], where: str) -> Stopped:
    """The receiver's reply to a `StopRequest`. Raises as `fingerprint` does."""
    _require_all(message, {"stopped": list}, where)
    return cast("Stopped", message)


def _require_runtime(runtime: object, where: str) -> None:
    if not isinstance(runtime, dict) or not isinstance(runtime.get("versions"), dict) or "name" not in runtime:
        raise ProtocolError(f"{where} reports the runtime {runtime!r}, which has no name or no versions")


def _is_batch(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < _MOST_RECORDS


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _require(message: Mapping[str, object], kinds: Mapping[str, type], where: str) -> None:
    """Fields that are there must have these types; null counts as missing."""
    for field, kind in kinds.items():
        if not isinstance(message.get(field), (kind, type(None))):
            raise ProtocolError(f"{where} reports {message[field]!r} as '{field}', which must be a {kind.__name__}")


def _require_all(message: Mapping[str, object], kinds: Mapping[str, type], where: str) -> None:
    """Fields that must be there, with these types."""
    _require(message, kinds, where)
    _require_present(message, kinds, where)


def _require_present(message: Mapping[str, object], fields: Iterable[str], where: str) -> None:
    for field in fields:
        if message.get(field) is None:
            raise ProtocolError(f"{where} reports no '{field}'")
