"""A runtime that runs on a device and is queried through the server there."""

from __future__ import annotations

import hashlib
import tempfile
import weakref
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from edgeaudit.agent import MAX_BODY, RUNTIMES
from edgeaudit.agent.served import runtime_class
from edgeaudit.devices.querying import QueryBudget, QueryPolicy, RetryingSession, retry
from edgeaudit.devices.registry import find_transport
from edgeaudit.devices.shipping import shipped
from edgeaudit.devices.transport import DeviceProperties, InferenceSession, Transport
from edgeaudit.endpoint import Endpoint
from edgeaudit.errors import ArtifactError, DeviceError
from edgeaudit.runtimes.base import Runtime, RuntimeSpec
from edgeaudit.settings import Settings

__all__ = [
    "MODEL",
    "DeviceRuntime",
    "DeviceRuntimeSpec",
    "RemoteRuntime",
    "device_facts",
    "on_device",
    "reported_versions",
]

MODEL = "model"
"""Name under which a session's only artifact is served."""

_REQUEST_BYTES = 8 << 20
"""Bytes of tensors per request, unless one batch is larger."""
_HEAD_ROOM = 1 << 16


class RemoteRuntime(Runtime):
    """A runtime in another process or on another machine, queried through an `InferenceSession`.

    Records are scaled and transposed here, and batched there, by the same code as for runtimes in this process.
    Subclasses start the session.
    """

    @abstractmethod
    def _serve(self, artifacts: Mapping[str, Path], max_body: int) -> RetryingSession:
        """Serve the one artifact (name -> folder)."""

    def _open(self) -> None:
        row = np.dtype(self.artifact.manifest.input.dtype).itemsize * int(
            np.prod(self.artifact.manifest.input.shape[1:], dtype=np.int64)
        )
        batches = max(1, _REQUEST_BYTES // max(1, row * self.batch))
        largest = max(MAX_BODY, batches * self.batch * row + _HEAD_ROOM)
        folder = tempfile.TemporaryDirectory(prefix="edgeaudit-")  # a restarted server reads it again
        weakref.finalize(self, folder.cleanup)
        try:
            self.session = self._serve({MODEL: shipped(self.artifact, Path(folder.name))}, largest)
        except ArtifactError as exc:  # replace the temporary path by the artifact's
            raise ArtifactError(str(exc).replace(folder.name, str(self.artifact.folder))) from exc
        try:
            reported = self.session.facts(MODEL).get("options")
        except BaseException:
            self.session.inner.close()
            raise
        if reported:  # the runtime's own, after it opened the file
            self.options = Settings(dict(reported))
            self.batch = self.options["batch"]
        # A server other than edgeaudit's agent does not split a request into batches, so each request is one batch.
        self._pads = not reported
        self._step = self.batch if self._pads else batches * self.batch

    def _answer_all(self, native: npt.NDArray[Any]) -> npt.NDArray[Any]:
        # Requests hold whole batches, so the batches are the same as in a single large request.
        blocks = [native[start : start + self._step] for start in range(0, len(native), self._step)]
        return np.concatenate([self._send(block) for block in blocks])

    def _send(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._pads and (short := self.batch - len(block)):
            return self._send(np.concatenate([block, np.repeat(block[-1:], short, axis=0)]))[: len(block)]
        # The ID is a hash of the content, so a server with a response cache need not compute a retry again.
        digest = hashlib.sha256(self.artifact.manifest.sha256.encode() + np.ascontiguousarray(block).tobytes())
        return self.session.infer(MODEL, block, digest.hexdigest()[:32])

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return self._answer_all(block)

    def remote_times(
        self, records: npt.NDArray[np.float32], repetitions: int, seconds: float
    ) -> tuple[list[float], float]:
        """As `edgeaudit.quality.latency.take_times` with one batch of records, measured on the device."""
        self._require_shape(records)
        native = np.ascontiguousarray(self._to_native(np.asarray(records, np.float32)))
        return self.session.inner.time(MODEL, native, repetitions, seconds)

    def engaged(self) -> tuple[str, ...]:
        """As the device reports them."""
        return tuple(self.session.facts(MODEL).get("engaged", ()))

    def close(self) -> None:
        """End the session."""
        self.session.inner.close()


@dataclass(frozen=True)
class DeviceRuntimeSpec(RuntimeSpec):
    """A runtime's spec on a device. reported: package versions from the device; may be empty."""

    reported: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: RuntimeSpec, reported: Mapping[str, str]) -> DeviceRuntimeSpec:
        """From the device-side spec, with the defaults of an application deployed there."""
        values = {field.name: getattr(spec, field.name) for field in fields(RuntimeSpec)}
        return cls(**{**values, "defaults": {**spec.defaults, **spec.deployed}}, reported=reported)

    @property
    def timed_here(self) -> bool:
        """False: a call goes to the device and back."""
        return False

    def installed(self) -> dict[str, str | None]:
        """Version of each package as the device reports it, None if it does not."""
        return {package: self.reported.get(package) for package in self.packages}

    def versions(self) -> dict[str, str]:
        """Version of each package that the device reports."""
        return dict(self.reported)


class DeviceRuntime(RemoteRuntime):
    """A runtime on a device. `on_device` makes the subclass for a transport and a query policy."""

    transport: ClassVar[Transport]
    policy: ClassVar[QueryPolicy]
    budget: ClassVar[QueryBudget | None] = None

    def _serve(self, artifacts: Mapping[str, Path], max_body: int) -> RetryingSession:
        def serve() -> InferenceSession:
            return self.transport.serve(self.spec.name, artifacts, self.options, max_body=max_body)

        return RetryingSession(retry(serve, lambda: None, self.policy), self.policy, self.budget)


def on_device(
    endpoint: Endpoint, runtime: str, policy: QueryPolicy, budget: QueryBudget | None = None
) -> type[DeviceRuntime]:
    """The runtime class for `runtime` at `endpoint`, queried within `policy`. Raises as `device_facts` does."""
    spec = DeviceRuntimeSpec.of(runtime_class(runtime).spec, reported_versions(device_facts(endpoint, runtime)))
    attributes = {
        "spec": spec,
        "transport": find_transport(endpoint),
        "policy": policy,
        "budget": budget,
        "__module__": __name__,
    }
    return cast("type[DeviceRuntime]", type("DeviceRuntime", (DeviceRuntime,), attributes))


@cache
def device_facts(endpoint: Endpoint, runtime: str) -> DeviceProperties:
    """The device properties that decide a runtime's outputs (`Transport.facts`), read once per process.

    `DeviceError` if no agent serves the runtime.
    """
    if runtime not in RUNTIMES:
        known = ", ".join(sorted(RUNTIMES))
        raise DeviceError(f"'{runtime}' runs on this machine only; runtimes for devices: {known}")
    return find_transport(endpoint).facts(runtime)


def reported_versions(facts: DeviceProperties) -> dict[str, str]:
    """Package -> version, of the packages whose version the device reports."""
    return {package: version for package, version in (facts["versions"] or {}).items() if version is not None}
