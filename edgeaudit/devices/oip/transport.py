"""A running server: Triton, OpenVINO Model Server, MLServer, or edgeaudit's agent.

docs/devices-endpoint.md describes what is checked and what such a server cannot report.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.agent.messages import Fingerprint, ServedFacts, ServerMetadata
from edgeaudit.agent.served import runtime_class
from edgeaudit.agent.tensors import DATATYPES, Head, datatype_of
from edgeaudit.devices.oip.client import OipClient
from edgeaudit.devices.oip.session import ClientSession
from edgeaudit.devices.transport import DeviceProperties, Transport, TransportSpec, properties
from edgeaudit.endpoint import Endpoint
from edgeaudit.errors import ArtifactError, DeviceError, DeviceLost, ProtocolError
from edgeaudit.filetypes.artifact import Artifact, Manifest, TensorSpec

__all__ = ["OipSession", "OipTransport"]

_AGENT = "edgeaudit_fingerprint"
_BINARY = "binary_tensor_data"
"""Extensions as named in a server's metadata."""


class OipTransport(Transport):
    """Queries a server that runs independently of the audit.

    Not timed: latency would include the network, the server's queue and other clients.
    """

    spec = TransportSpec(
        "oip", "oip://host:port, http:// or https://", "a running server of the Open Inference Protocol"
    )
    timed = False
    exclusive = True
    loads = False

    def facts(self, runtime: str) -> DeviceProperties:
        """See `Transport.facts`. A server without edgeaudit's fingerprint has only a name, version and extensions."""
        client = _client(self.endpoint)
        try:
            about = _server(client)
            known = _agents_facts(client, runtime) if _AGENT in about["extensions"] else _nothing_known(runtime)
            return {**known, "server": about, "model": _model(client, self.endpoint)}
        finally:
            client.close()

    def serve(
        self,
        runtime: str,  # noqa: ARG002  the server's choice; an agent's is in its facts
        artifacts: Mapping[str, Path],
        options: Mapping[str, object],
        *,
        max_body: int | None = None,  # noqa: ARG002  the server has its own limits
    ) -> OipSession:
        """See `Transport.serve`. Copies nothing; checks the server's models against the manifests.

        Raises `ArtifactError` if the server's model has other inputs or outputs than the artifact, or if an agent
        serves another file or other options, and `DeviceLost` if the server is not ready yet.
        """
        if self.endpoint.model is not None and len(artifacts) > 1:
            raise DeviceError(
                f"{self.endpoint.via} has the model '{self.endpoint.model}' configured, which cannot stand for "
                f"{len(artifacts)} "
                f"artifacts ({', '.join(artifacts)}); omit 'model', and each artifact uses the name of its file"
            )
        manifests = {name: Artifact.load(folder).manifest for name, folder in artifacts.items()}
        session = OipSession(self.endpoint, manifests, options)
        try:
            session.restore()
        except BaseException:
            session.close()
            raise
        return session


@dataclass(frozen=True)
class _Bound:
    """The server's names for an artifact and its tensors, and its metadata of the model."""

    model: str
    input: str
    output: str
    about: Head


class OipSession(ClientSession):
    """A session with a server that edgeaudit neither starts nor stops.

    Tensors are sent as bytes if the server's metadata name that extension, and otherwise as JSON, which represents
    every finite float32 exactly.
    """

    def __init__(self, endpoint: Endpoint, manifests: Mapping[str, Manifest], options: Mapping[str, object]) -> None:
        self._endpoint = endpoint
        self._manifests = dict(manifests)
        self._options = dict(options)
        self._about: ServerMetadata | None = None
        self._bound: dict[str, _Bound] = {}
        self.client = _client(endpoint)

    def infer(self, model: str, native: npt.NDArray[Any], request: str) -> npt.NDArray[Any]:
        """See `InferenceSession.infer`. All records go in one request, so the server's batch is the one given."""
        bound, manifest = self._bound[model], self._manifests[model]
        answers = self.client.infer(bound.model, {bound.input: native}, outputs=(bound.output,), request=request)
        if bound.output not in answers:
            raise ProtocolError(f"{self.client.url} returned no output '{bound.output}' for '{bound.model}'")
        output = answers[bound.output]
        expected = (len(native), *manifest.output.shape[1:])
        if output.shape != expected or output.dtype != np.dtype(manifest.output.dtype):
            raise ProtocolError(
                f"{self.client.url} returned {output.dtype.name} {list(output.shape)} for {len(native)} records of "
                f"'{bound.model}', "
                f"not {manifest.output.dtype} {list(expected)}"
            )
        return output

    def facts(self, model: str) -> ServedFacts:
        """See `InferenceSession.facts`.

        A server without edgeaudit's extension has no options, no delegates and no SHA-256.
        """
        bound = self._bound[model]
        known: ServedFacts = {"options": {}, "engaged": [], "sha256": None}
        if self._is_agent:
            known = self.client.facts(bound.model)
        facts: ServedFacts = {**known, "model": bound.model, "platform": bound.about.get("platform")}
        if self._about is not None:
            facts["server"] = self._about
        return facts

    def fingerprint(self) -> Fingerprint:
        """See `InferenceSession.fingerprint`."""
        return self.client.fingerprint() if self._is_agent else {}

    def restore(self) -> None:
        """(Re)connect, and check the server against the manifests and against its earlier metadata."""
        self.client.close()
        about = _server(self.client)
        if not self.client.live():
            raise DeviceLost(f"{self.client.url} is not live yet")
        self.client.binary = _BINARY in about["extensions"]
        bound = {name: self._checked(manifest, about) for name, manifest in self._manifests.items()}
        if self._about is not None and (about, bound) != (self._about, self._bound):
            what = _difference(self._about, self._bound, about, bound)
            raise DeviceError(
                f"{self.client.url} changed while it was disconnected: {what}; answers from before and after cannot "
                "be combined, so start again"
            )
        self._about, self._bound = about, bound

    def close(self) -> None:
        """Close the connection; the server keeps running."""
        self.client.close()

    @property
    def _is_agent(self) -> bool:
        return self._about is not None and _AGENT in self._about["extensions"]

    def _checked(self, manifest: Manifest, about: ServerMetadata) -> _Bound:
        name = self._endpoint.model or Path(manifest.file).stem
        if not self.client.ready(name):
            if not self.client.ready():
                raise DeviceLost(f"{self.client.url} is not ready yet")
            self.client.model_metadata(name)  # raises if there is no such model
            raise DeviceLost(f"the model '{name}' at {self.client.url} is not ready yet")
        metadata = self.client.model_metadata(name)
        where = f"the model '{name}' at {self.client.url}"
        source = _tensors(metadata, "inputs", where)
        if len(source) != 1:
            raise ArtifactError(f"{where} takes {len(source)} tensors ({', '.join(source)}); {manifest.file} takes one")
        answers = _tensors(metadata, "outputs", where)
        output = manifest.output.name if manifest.output.name in answers else next(iter(answers))
        batch = None if _AGENT in about["extensions"] else self._options.get("batch")
        _require_alike(f"{where} takes", manifest.input, next(iter(source.values())), manifest.file, batch)
        _require_alike(f"{where} returns", manifest.output, answers[output], manifest.file, batch)
        if _AGENT in about["extensions"]:
            self._require_same_file(name, manifest)
        return _Bound(name, next(iter(source)), output, metadata)

    def _require_same_file(self, name: str, manifest: Manifest) -> None:
        facts = self.client.facts(name)
        if facts.get("sha256") != manifest.sha256:
            raise ArtifactError(
                f"{self.client.url} serves '{name}' from a file with SHA-256 {facts.get('sha256')}, but "
                f"{manifest.file} has {manifest.sha256}; serve that file there"
            )
        there = facts.get("options", {})
        fixed = {"batch": manifest.input.shape[0]} if manifest.input.shape[0] > 0 else {}
        for option, value in {**self._options, **fixed}.items():
            if option in there and there[option] != value:
                raise ArtifactError(
                    f"{self.client.url} serves '{name}' with {option} = {there[option]!r}, but the audit requires "
                    f"{value!r}; start the agent there with --options, or change the audit's"
                )


def _client(endpoint: Endpoint) -> OipClient:
    scheme, _, rest = endpoint.via.partition("://")
    url = f"http://{rest}" if scheme == "oip" else endpoint.via
    if endpoint.token is None:
        return OipClient(url)
    token = os.environ.get(endpoint.token, "").strip()
    if not token:
        raise DeviceError(
            f"{endpoint.via} needs a token from the environment variable {endpoint.token}, which is not set"
        )
    return OipClient(url, token)


def _server(client: OipClient) -> ServerMetadata:
    about = client.server_metadata()
    name, extensions = about.get("name"), about.get("extensions") or []
    if not isinstance(name, str) or not isinstance(extensions, list):
        raise ProtocolError(f"{client.url} does not describe itself at /v2, as the Open Inference Protocol v2 requires")
    return {
        "name": name,
        "version": str(about.get("version", "")),
        "extensions": [str(extension) for extension in extensions],
    }


def _model(client: OipClient, endpoint: Endpoint) -> Head | None:
    """The server's description of the model named in the audit; a new version of it counts as another device."""
    if endpoint.model is None:
        return None
    metadata = client.model_metadata(endpoint.model)
    return {key: metadata.get(key) for key in ("name", "versions", "platform")}


def _nothing_known(runtime: str) -> DeviceProperties:
    """Of a server that is no agent, all that can be said is which packages matter."""
    return {
        "machine": None,
        "cpu": None,
        "isa": None,
        "os": None,
        "python": None,
        "versions": dict.fromkeys(runtime_class(runtime).spec.packages),
    }


def _agents_facts(client: OipClient, runtime: str) -> DeviceProperties:
    """From the agent's fingerprint, without what changes between requests or is about the file."""
    fingerprint = client.fingerprint()
    there = fingerprint.get("runtime")
    if there is None:
        raise ProtocolError(f"{client.url} does not report its runtime")
    if there["name"] != runtime:
        raise DeviceError(f"the agent at {client.url} runs '{there['name']}', but the audit requires '{runtime}'")
    return {
        **properties(fingerprint, there["versions"]),
        "agent": fingerprint.get("agent"),
        "numpy": fingerprint.get("numpy"),
        "threads": fingerprint.get("threads"),
        "probes": fingerprint.get("probes"),
    }


@dataclass(frozen=True)
class _Tensor:
    """A tensor in a server's metadata. datatype: as the server writes it. shape: -1 is any length."""

    datatype: object
    shape: list[int]


def _tensors(about: Head, key: str, where: str) -> dict[str, _Tensor]:
    """Name -> tensor, in the order of the metadata."""
    entries = about.get(key)
    if not isinstance(entries, list) or not entries:
        raise ArtifactError(f"{where} has no {key} in its metadata; for MLServer, add them to model-settings.json")
    tensors: dict[str, _Tensor] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ProtocolError(f"{where} has {key} without a name")
        shape = entry.get("shape")
        # Triton 2.51 writes 64-bit lengths as numbers, and gateways from gRPC to JSON write them as strings.
        lengths = [_length(value) for value in shape] if isinstance(shape, list) else [None]
        known = [length for length in lengths if length is not None]
        if len(known) != len(lengths):
            raise ProtocolError(f"{where} has the invalid shape {shape!r} for '{entry['name']}'")
        tensors[entry["name"]] = _Tensor(entry.get("datatype"), known)
    return tensors


def _length(value: object) -> int | None:
    if isinstance(value, str) and value.removeprefix("-").isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _require_alike(what: str, spec: TensorSpec, there: _Tensor, file: str, batch: object) -> None:
    """`ArtifactError` unless the server's tensor matches the artifact's. Names may differ; -1 matches any length."""
    if there.datatype != datatype_of(spec.dtype):
        known = DATATYPES.get(str(there.datatype), there.datatype)
        raise ArtifactError(f"{what} {known}, but {file} has {spec.dtype} there ('{spec.name}')")
    shape = there.shape
    if len(shape) != len(spec.shape) or not all(map(_same_length, shape[1:], spec.shape[1:])):
        raise ArtifactError(f"{what} {shape}, but {file} has {list(spec.shape)} there ('{spec.name}')")
    if not _same_length(shape[0], spec.shape[0]):
        raise ArtifactError(f"{what} {shape[0]} records at a time, but {file} is made for {spec.shape[0]}")
    if shape[0] > 0 and batch is not None and batch != shape[0]:
        raise ArtifactError(
            f"{what} {shape[0]} records at a time, but the audit sends {batch} at a time; set the runtime's option "
            f"batch: {shape[0]}"
        )


def _same_length(length: int, other: int) -> bool:
    return length == other or length < 0 or other < 0


def _difference(
    old: ServerMetadata, old_models: Mapping[str, _Bound], new: ServerMetadata, new_models: Mapping[str, _Bound]
) -> str:
    """The first property that changed."""
    pairs: Sequence[tuple[str, object, object]] = [
        ("its name", old["name"], new["name"]),
        ("its version", old["version"], new["version"]),
        ("its extensions", old["extensions"], new["extensions"]),
        *((f"'{bound.model}'", bound.about, new_models[name].about) for name, bound in old_models.items()),
    ]
    return next((f"{what} was {was} and is {now}" for what, was, now in pairs if was != now), "its tensors' names")
