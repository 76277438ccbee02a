"""The agent's responses to authorized requests, independent of sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote

from edgeaudit.agent.fingerprint import agent_version, fingerprint
from edgeaudit.agent.memory import Message, ResponseCache
from edgeaudit.agent.messages import Fingerprint, ServerMetadata
from edgeaudit.agent.served import TURN, Served
from edgeaudit.agent.tensors import Head, join, read_tensors, split, written
from edgeaudit.errors import ProtocolError

__all__ = ["Answer", "NotThere", "Routes"]

_EXTENSIONS = ["binary_tensor_data", "edgeaudit_fingerprint"]


_MOST_CALLS, _MOST_SECONDS = 10_000, 60


class NotThere(ProtocolError):
    """No such path or model."""


@dataclass(frozen=True)
class Answer:
    """The body of a response, and the length of its JSON if tensors follow."""

    body: bytes
    head_bytes: int | None = None


class Routes:
    """The protocol's paths for the served models. Model names are looked up and never used as file paths.

    options: of the runtime, for the probes if no model is served.
    """

    def __init__(self, runtime: str, models: Mapping[str, Served], options: Mapping[str, object] | None = None) -> None:
        self._runtime = runtime
        self._options = dict(options or {})
        self._models = dict(models)
        self._fingerprint: Fingerprint | None = None
        self._cache = ResponseCache()

    def get(self, path: str) -> Answer:
        """Answer a GET."""
        parts = _parts(path)
        fixed: dict[tuple[str, ...], Callable[[], Mapping[str, object]]] = {
            ("v2", "health", "live"): lambda: {"live": True},
            ("v2", "health", "ready"): lambda: {"ready": True},
            ("v2",): self._server,
            ("v2", "edgeaudit", "fingerprint"): self._facts,
        }
        if parts in fixed:
            return Answer(join(fixed[parts](), ())[0])
        if parts[:2] == ("v2", "edgeaudit"):
            model, rest = self._model(("v2", *parts[2:]), path)
            if rest == ():
                return Answer(join({**model.facts(), "answered": model.answered}, ())[0])
        model, rest = self._model(parts, path)
        if rest == ():
            return Answer(join(model.metadata(), ())[0])
        if rest == ("ready",):
            return Answer(join({"name": model.name, "ready": True}, ())[0])
        raise NotThere(f"nothing to GET at {path!r}")

    def find_post(self, path: str) -> Callable[[bytes, int | None], Answer]:
        """The handler of a POST to this path; it takes the body and the length of the JSON in it.

        Separate from the response, so that the body for an unknown model is never read.
        """
        parts = _parts(path)
        if parts[:2] == ("v2", "edgeaudit") and parts[-1:] == ("latency",):
            model, rest = self._model(("v2", *parts[2:-1]), path)
            if rest == ():
                return partial(_timed, model)
        model, rest = self._model(parts, path)
        if rest != ("infer",):
            raise NotThere(f"nothing to POST to at {path!r}")
        return partial(_infer, model, self._cache)

    def _model(self, parts: tuple[str, ...], path: str) -> tuple[Served, tuple[str, ...]]:
        if parts[:2] != ("v2", "models") or len(parts) < 3:
            raise NotThere(f"nothing at {path!r}")
        name, rest = parts[2], parts[3:]
        if name not in self._models:
            raise NotThere(f"unknown model {name!r}; served models: {', '.join(self._models)}")
        if rest[:1] == ("versions",):
            if rest[1:2] != (Served.VERSION,):
                raise NotThere(f"the model {name!r} has only the version {Served.VERSION}")
            rest = rest[2:]
        return self._models[name], rest

    def _server(self) -> ServerMetadata:
        return {"name": "edgeaudit-agent", "version": agent_version(), "extensions": _EXTENSIONS}

    def _facts(self) -> Fingerprint:
        with TURN:
            if self._fingerprint is None:
                self._fingerprint = fingerprint(self._runtime, self._models, self._options)
            return self._fingerprint


def _parts(path: str) -> tuple[str, ...]:
    return tuple(unquote(part) for part in path.partition("?")[0].strip("/").split("/"))


def _infer(model: Served, cache: ResponseCache, body: bytes, head_bytes: int | None) -> Answer:
    head, tail = split(body, head_bytes)
    identity = head.get("id", "")
    if not isinstance(identity, str):
        raise ProtocolError("the id of a request must be a string")
    key = (model.name.encode(), identity.encode("utf-8", "surrogatepass"), b"%d" % len(tail), body)
    return Answer(*cache.answer(key if identity else None, partial(_computed, model, head, tail)))


def _timed(model: Served, body: bytes, head_bytes: int | None) -> Answer:
    """Time the runtime's own call on this device; an extension of the protocol."""
    head, tail = split(body, head_bytes)
    parameters = _object(head, "request")
    repetitions, seconds = parameters.get("repetitions"), parameters.get("seconds")
    if type(repetitions) is not int or not 1 <= repetitions <= _MOST_CALLS:
        raise ProtocolError(f"the parameter 'repetitions' must be an integer from 1 to {_MOST_CALLS}")
    if not isinstance(seconds, (int, float)) or not 0 < seconds <= _MOST_SECONDS:
        raise ProtocolError(f"the parameter 'seconds' must be a number up to {_MOST_SECONDS}")
    times, cpu_share = model.time(read_tensors(head.get("inputs"), tail), repetitions, seconds)
    return Answer(join({"milliseconds": times, "cpu_share": cpu_share}, ())[0])


def _computed(model: Served, head: Head, tail: memoryview) -> Message:
    binary = _binary_output(head, model)
    name, values = model.infer(read_tensors(head.get("inputs"), tail))
    entry, blob = written(name, values, binary=binary)
    answer: Head = {"model_name": model.name, "model_version": Served.VERSION, "outputs": [entry]}
    if head.get("id"):
        answer["id"] = head["id"]
    try:
        return join(answer, () if blob is None else (blob,))
    except ValueError as exc:
        raise ProtocolError(
            "the output contains NaN or infinity, which JSON cannot represent; request binary_data"
        ) from exc


def _binary_output(head: Head, model: Served) -> bool:
    """Whether the only output is requested as bytes; `ProtocolError` for any other output or parameter."""
    binary = bool(_object(head, "request").get("binary_data_output", False))
    outputs = head.get("outputs") or []
    if not isinstance(outputs, list):
        raise ProtocolError("the outputs of a request must be a list")
    only = model.runtime.artifact.manifest.output.name
    for output in outputs:
        if not isinstance(output, dict) or output.get("name") != only:
            raise ProtocolError(f"the model '{model.name}' has only the output '{only}'")
        parameters = _object(output, f"tensor '{only}'")
        if refused := [key for key in parameters if key.startswith(("classification", "shared_memory"))]:
            raise ProtocolError(f"the parameter '{refused[0]}' of the tensor '{only}' is not supported")
        binary = bool(parameters.get("binary_data", binary))
    return binary


def _object(entry: Head, what: str) -> Head:
    parameters = entry.get("parameters", {})
    if not isinstance(parameters, dict):
        raise ProtocolError(f"the parameters of the {what} must be an object")
    return parameters
