"""A server that is already there: Triton, OpenVINO Model Server, MLServer, edgeaudit's agent.

docs/devices-endpoint.md tells what is checked and what such a server cannot tell.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.agent.served import runtime_class
from edgeaudit.agent.tensors import DATATYPES, Head, datatype_of
from edgeaudit.devices.oip.client import OipClient
from edgeaudit.devices.oip.serving import ClientServing
from edgeaudit.devices.transport import TransportSpec, Way
from edgeaudit.endpoint import Reach
from edgeaudit.errors import ArtifactError, DeviceError, DeviceLost, ProtocolError
from edgeaudit.filetypes.artifact import Artifact, Manifest, TensorSpec

__all__ = ["EndpointServing", "EndpointWay"]

_AGENT = "edgeaudit_fingerprint"
_BINARY = "binary_tensor_data"
"""Extensions, as a server's metadata name them."""

_UNKNOWN = ("machine", "cpu", "isa", "os", "python")
_STABLE = ("agent", *_UNKNOWN, "libc", "numpy", "threads", "probes")
"""Of the agent's fingerprint: what decides answers and is the same at each time of asking, the file apart."""


class EndpointWay(Way):
    """Asks a server that somebody else started.

    Not timed: an answer's time has the network's in it, the server's queue and whoever else asks.
    """

    spec = TransportSpec(
        "oip", "oip://host:port, http:// or https://", "a server of the Open Inference Protocol that is already there"
    )
    timed = False
    alone = True
    loads = False

    def facts(self, runtime: str) -> dict[str, Any]:
        """See `Way.facts`. Of a server without edgeaudit's fingerprint, its name, version and extensions are known."""
        client = _client(self.reach)
        try:
            about = _server(client)
            if _AGENT in about["extensions"]:
                return {**_agents_facts(client, runtime), "server": about, "model": _model(client, self.reach)}
            return {
                **dict.fromkeys(_UNKNOWN),
                "versions": dict.fromkeys(_packages(runtime)),
                "server": about,
                "model": _model(client, self.reach),
            }
        finally:
            client.close()

    def serve(
        self,
        runtime: str,  # noqa: ARG002  what a server computes with is not asked for, and an agent's is in its facts
        artifacts: Mapping[str, Path],
        options: Mapping[str, Any],
        *,
        max_body: int | None = None,  # noqa: ARG002  the server has limits of its own
    ) -> EndpointServing:
        """See `Way.serve`. Nothing is brought there; what is there is held against the manifests.

        Raises `ArtifactError` where the server's model takes or answers something else than the artifact, where an
        agent serves another file or with other options, and `DeviceLost` where it is not ready yet.
        """
        if self.reach.model is not None and len(artifacts) > 1:
            raise DeviceError(
                f"{self.reach.via} is asked for the model '{self.reach.model}', which cannot be {len(artifacts)} "
                f"artifacts ({', '.join(artifacts)}); leave 'model' out, and each is asked for as its file is called"
            )
        manifests = {name: Artifact.load(folder).manifest for name, folder in artifacts.items()}
        serving = EndpointServing(self.reach, manifests, options)
        try:
            serving.restore()
        except BaseException:
            serving.close()
            raise
        return serving


@dataclass(frozen=True)
class _Bound:
    """What the server calls an artifact and its tensors, and what it tells of the model."""

    model: str
    input: str
    output: str
    about: Head


class EndpointServing(ClientServing):
    """Models of a server that is not ours to start or end.

    Tensors go as bytes where the server's metadata name the extension, and as JSON otherwise, which holds every finite
    float32 exactly.
    """

    def __init__(self, reach: Reach, manifests: Mapping[str, Manifest], options: Mapping[str, Any]) -> None:
        self._reach = reach
        self._manifests = dict(manifests)
        self._options = dict(options)
        self._about: Head = {}
        self._bound: dict[str, _Bound] = {}
        self.client = _client(reach)

    def infer(self, model: str, native: npt.NDArray[Any], request: str) -> npt.NDArray[Any]:
        """See `Serving.infer`. The records go in one request, so that the server's batch is the one given."""
        bound, manifest = self._bound[model], self._manifests[model]
        answers = self.client.infer(bound.model, {bound.input: native}, outputs=(bound.output,), request=request)
        if bound.output not in answers:
            raise ProtocolError(f"{self.client.url} answered for '{bound.model}' without its output '{bound.output}'")
        given = answers[bound.output]
        wanted = (len(native), *manifest.output.shape[1:])
        if given.shape != wanted or given.dtype != np.dtype(manifest.output.dtype):
            raise ProtocolError(
                f"{self.client.url} answered {len(native)} records for '{bound.model}' with {given.dtype.name} "
                f"{list(given.shape)}, not {manifest.output.dtype} {list(wanted)}"
            )
        return given

    def facts(self, model: str) -> Mapping[str, Any]:
        """See `Serving.facts`. Of a server that tells none of it: no options, nothing engaged, no SHA-256."""
        bound = self._bound[model]
        known = {"server": self._about, "model": bound.model, "platform": bound.about.get("platform")}
        if self._is_agent:
            return {**self.client.facts(bound.model), **known}
        return {"options": {}, "engaged": [], "sha256": None, **known}

    def fingerprint(self) -> Mapping[str, Any]:
        """See `Serving.fingerprint`."""
        return self.client.fingerprint() if self._is_agent else {}

    def restore(self) -> None:
        """Connect (again) and hold what is there against the manifests, and against what was there before."""
        self.client.close()
        about = _server(self.client)
        if not self.client.live():
            raise DeviceLost(f"{self.client.url} does not live yet")
        self.client.binary = _BINARY in about["extensions"]
        bound = {name: self._checked(manifest, about) for name, manifest in self._manifests.items()}
        if self._about and (about, bound) != (self._about, self._bound):
            what = _difference(self._about, self._bound, about, bound)
            raise DeviceError(
                f"{self.client.url} came back as something else: {what}; its earlier answers and later ones do not "
                "belong together, so begin again"
            )
        self._about, self._bound = about, bound

    def close(self) -> None:
        """Close the connection; the server goes on."""
        self.client.close()

    @property
    def _is_agent(self) -> bool:
        return _AGENT in self._about["extensions"]

    def _checked(self, manifest: Manifest, about: Head) -> _Bound:
        name = self._reach.model or Path(manifest.file).stem
        if not self.client.ready(name):
            if not self.client.ready():
                raise DeviceLost(f"{self.client.url} is not ready yet")
            self.client.model_metadata(name)  # which says so where there is no such model
            raise DeviceLost(f"the model '{name}' at {self.client.url} is not ready yet")
        found = self.client.model_metadata(name)
        where = f"the model '{name}' at {self.client.url}"
        source = _tensors(found, "inputs", where)
        if len(source) != 1:
            raise ArtifactError(f"{where} takes {len(source)} tensors ({', '.join(source)}); {manifest.file} takes one")
        answers = _tensors(found, "outputs", where)
        output = manifest.output.name if manifest.output.name in answers else next(iter(answers))
        batch = None if _AGENT in about["extensions"] else self._options.get("batch")
        _require_alike(f"{where} takes", manifest.input, next(iter(source.values())), manifest.file, batch)
        _require_alike(f"{where} answers", manifest.output, answers[output], manifest.file, batch)
        if _AGENT in about["extensions"]:
            self._require_same_file(name, manifest)
        return _Bound(name, next(iter(source)), output, found)

    def _require_same_file(self, name: str, manifest: Manifest) -> None:
        facts = self.client.facts(name)
        if facts.get("sha256") != manifest.sha256:
            raise ArtifactError(
                f"{self.client.url} serves as '{name}' a file with the SHA-256 {facts.get('sha256')}, and "
                f"{manifest.file} has {manifest.sha256}; serve that file there"
            )
        there = facts.get("options", {})
        fixed = {"batch": manifest.input.shape[0]} if manifest.input.shape[0] > 0 else {}
        for option, value in {**self._options, **fixed}.items():
            if option in there and there[option] != value:
                raise ArtifactError(
                    f"{self.client.url} serves '{name}' with {option} = {there[option]!r}, and the audit asks for "
                    f"{value!r}; start the agent there with --options, or change the audit's"
                )


def _client(reach: Reach) -> OipClient:
    scheme, _, rest = reach.via.partition("://")
    url = f"http://{rest}" if scheme == "oip" else reach.via
    if reach.token is None:
        return OipClient(url)
    token = os.environ.get(reach.token, "").strip()
    if not token:
        raise DeviceError(f"{reach.via} needs a token from the environment variable {reach.token}, which is not set")
    return OipClient(url, token)


def _server(client: OipClient) -> Head:
    """{"name", "version", "extensions"} of the server."""
    about = client.server_metadata()
    extensions = about.get("extensions") or []
    if not isinstance(about.get("name"), str) or not isinstance(extensions, list):
        raise ProtocolError(f"{client.url} does not say what it is at /v2, as the Open Inference Protocol v2 asks")
    return {
        "name": about["name"],
        "version": str(about.get("version", "")),
        "extensions": [str(extension) for extension in extensions],
    }


def _model(client: OipClient, reach: Reach) -> Head | None:
    """What the server tells of the model that the audit names: a new version of it is another device."""
    if reach.model is None:
        return None
    found = client.model_metadata(reach.model)
    return {key: found.get(key) for key in ("name", "versions", "platform")}


def _agents_facts(client: OipClient, runtime: str) -> dict[str, Any]:
    found = client.fingerprint()
    there = found["runtime"]
    if there["name"] != runtime:
        raise DeviceError(
            f"the agent at {client.url} serves with '{there['name']}', and the audit asks for '{runtime}'"
        )
    return {**{key: found.get(key) for key in _STABLE}, "versions": dict(there["versions"])}


def _packages(runtime: str) -> tuple[str, ...]:
    return runtime_class(runtime).spec.packages


def _tensors(about: Head, key: str, where: str) -> dict[str, Head]:
    """Name -> {"datatype", "shape"}, in the server's order."""
    entries = about.get(key)
    if not isinstance(entries, list) or not entries:
        raise ArtifactError(
            f"{where} does not say in its metadata which {key} it has; MLServer tells them where its model-settings do"
        )
    found: dict[str, Head] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ProtocolError(f"{where} has {key} without a name")
        shape = entry.get("shape")
        # Triton 2.51 writes 64-bit lengths as numbers, and gateways from gRPC to JSON write them as strings.
        lengths = [_length(value) for value in shape] if isinstance(shape, list) else [None]
        if None in lengths:
            raise ProtocolError(f"{where} has for '{entry['name']}' the shape {shape!r}, which is no list of lengths")
        found[entry["name"]] = {"datatype": entry.get("datatype"), "shape": lengths}
    return found


def _length(value: Any) -> int | None:
    if isinstance(value, str) and value.removeprefix("-").isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _require_alike(what: str, spec: TensorSpec, there: Head, file: str, batch: int | None) -> None:
    """`ArtifactError` unless the server's tensor may be the artifact's. Names may differ; -1 is any length."""
    if there["datatype"] != datatype_of(spec.dtype):
        known = DATATYPES.get(str(there["datatype"]), there["datatype"])
        raise ArtifactError(f"{what} {known}, and {file} has {spec.dtype} there ('{spec.name}')")
    shape = there["shape"]
    if len(shape) != len(spec.shape) or not all(map(_same_length, shape[1:], spec.shape[1:])):
        raise ArtifactError(f"{what} {shape}, and {file} has {list(spec.shape)} there ('{spec.name}')")
    if not _same_length(shape[0], spec.shape[0]):
        raise ArtifactError(f"{what} {shape[0]} records at a time, and {file} is made for {spec.shape[0]}")
    if shape[0] > 0 and batch is not None and batch != shape[0]:
        raise ArtifactError(
            f"{what} {shape[0]} records at a time, and the audit asks {batch} at a time; set the runtime's option "
            f"batch: {shape[0]}"
        )


def _same_length(one: int, other: int) -> bool:
    return one == other or one < 0 or other < 0


def _difference(old: Head, known: Mapping[str, _Bound], new: Head, found: Mapping[str, _Bound]) -> str:
    """The first thing that is not as it was."""
    pairs: Sequence[tuple[str, Any, Any]] = [
        *((f"its {key}", old[key], new[key]) for key in old),
        *((f"'{bound.model}'", bound.about, found[name].about) for name, bound in known.items()),
    ]
    return next((f"{what} was {was} and is {now}" for what, was, now in pairs if was != now), "its tensors' names")
