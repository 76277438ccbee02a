"""A runtime that is asked where it runs: on a device, through whatever serves it there."""

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
from edgeaudit.devices.asking import Ledger, Pace, Patient, insist
from edgeaudit.devices.registry import find_way
from edgeaudit.devices.shipping import shipped
from edgeaudit.devices.transport import Serving, Way
from edgeaudit.endpoint import Reach
from edgeaudit.errors import ArtifactError, DeviceError
from edgeaudit.runtimes.base import Runtime, RuntimeSpec

__all__ = [
    "MODEL",
    "DeviceRuntime",
    "DeviceRuntimeSpec",
    "RemoteRuntime",
    "device_facts",
    "on_device",
    "told_versions",
]

MODEL = "model"
"""What the one artifact of a serving is called."""

_REQUEST_BYTES = 8 << 20
"""Of tensors in one request, where a batch is not larger."""
_HEAD_ROOM = 1 << 16


class RemoteRuntime(Runtime):
    """A runtime in another process or on another machine: what it is asked goes through a `Serving`.

    Records are scaled and transposed here and batched there, by the code that does both for runtimes in this process.
    Subclasses start the serving.
    """

    @abstractmethod
    def _serve(self, artifacts: Mapping[str, Path], max_body: int) -> Patient:
        """Serve the one artifact (name -> folder)."""

    def _open(self) -> None:
        row = np.dtype(self.artifact.manifest.input.dtype).itemsize * int(
            np.prod(self.artifact.manifest.input.shape[1:], dtype=np.int64)
        )
        batches = max(1, _REQUEST_BYTES // max(1, row * self.batch))
        largest = max(MAX_BODY, batches * self.batch * row + _HEAD_ROOM)
        folder = tempfile.TemporaryDirectory(prefix="edgeaudit-")  # what is lost is served anew from it
        weakref.finalize(self, folder.cleanup)
        try:
            self.patient = self._serve({MODEL: shipped(self.artifact, Path(folder.name))}, largest)
        except ArtifactError as exc:  # it names the file as it was given it
            raise ArtifactError(str(exc).replace(folder.name, str(self.artifact.folder))) from exc
        told = self.patient.facts(MODEL).get("options")
        if told:  # as the runtime has them after opening the file
            self.options = dict(told)
            self.batch = self.options["batch"]
        # A server that is not edgeaudit's agent computes what it is given at once, so it is given one batch.
        self._pads = not told
        self._step = self.batch if self._pads else batches * self.batch

    def _answer_all(self, native: npt.NDArray[Any]) -> npt.NDArray[Any]:
        # Whole batches in each request, so that the batches are those of one request for everything.
        blocks = [native[start : start + self._step] for start in range(0, len(native), self._step)]
        return np.concatenate([self._ask_once(block) for block in blocks])

    def _ask_once(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._pads and (short := self.batch - len(block)):
            return self._ask_once(np.concatenate([block, np.repeat(block[-1:], short, axis=0)]))[: len(block)]
        # The question's content names it, so that a server that remembers it need not compute it again.
        name = hashlib.sha256(self.artifact.manifest.sha256.encode() + np.ascontiguousarray(block).tobytes())
        return self.patient.infer(MODEL, block, name.hexdigest()[:32])

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return self._answer_all(block)

    def remote_times(
        self, records: npt.NDArray[np.float32], repetitions: int, seconds: float
    ) -> tuple[list[float], float]:
        """As `edgeaudit.quality.latency.take_times`, of calls with one batch of records, taken on the far side."""
        self._require_shape(records)
        native = np.ascontiguousarray(self._to_native(np.asarray(records, np.float32)))
        return self.patient.serving.time(MODEL, native, repetitions, seconds)

    def engaged(self) -> tuple[str, ...]:
        """As the far side tells."""
        return tuple(self.patient.facts(MODEL).get("engaged", ()))

    def close(self) -> None:
        """End what was started now."""
        self.patient.serving.close()


@dataclass(frozen=True)
class DeviceRuntimeSpec(RuntimeSpec):
    """A runtime's spec as it is on a device. known: the versions that the device told, and may be none."""

    known: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: RuntimeSpec, known: Mapping[str, str]) -> DeviceRuntimeSpec:
        """The device side's spec; its defaults are those of an application there."""
        told = {one.name: getattr(spec, one.name) for one in fields(RuntimeSpec)}
        return cls(**{**told, "defaults": {**spec.defaults, **spec.deployed}}, known=known)

    @property
    def timed_here(self) -> bool:
        """False: a call goes to the device and back."""
        return False

    def installed(self) -> dict[str, str | None]:
        """Version of each package, as the device told."""
        return {package: self.known.get(package) for package in self.packages}

    def versions(self) -> dict[str, str]:
        """Version of each package, as the device told; those that it did not tell are left out."""
        return dict(self.known)


class DeviceRuntime(RemoteRuntime):
    """A runtime on a device. `on_device` makes one for a way and a pace."""

    way: ClassVar[Way]
    pace: ClassVar[Pace]
    ledger: ClassVar[Ledger | None] = None

    def _serve(self, artifacts: Mapping[str, Path], max_body: int) -> Patient:
        def serve() -> Serving:
            return self.way.serve(self.spec.name, artifacts, self.options, max_body=max_body)

        return Patient(insist(serve, lambda: None, self.pace), self.pace, self.ledger)


def on_device(reach: Reach, runtime: str, pace: Pace, ledger: Ledger | None = None) -> type[DeviceRuntime]:
    """The runtime called `runtime` where `reach` leads, to be asked at `pace`. Raises as `device_facts` does."""
    spec = DeviceRuntimeSpec.of(runtime_class(runtime).spec, told_versions(device_facts(reach, runtime)))
    told = {"spec": spec, "way": find_way(reach), "pace": pace, "ledger": ledger, "__module__": __name__}
    return cast("type[DeviceRuntime]", type("DeviceRuntime", (DeviceRuntime,), told))


@cache
def device_facts(reach: Reach, runtime: str) -> dict[str, Any]:
    """What of a device decides a runtime's answers (`Way.facts`), asked once in a process.

    `DeviceError` for a runtime that no agent serves.
    """
    if runtime not in RUNTIMES:
        known = ", ".join(sorted(RUNTIMES))
        raise DeviceError(f"'{runtime}' runs on this machine alone; on devices there are: {known}")
    return find_way(reach).facts(runtime)


def told_versions(facts: Mapping[str, Any]) -> dict[str, str]:
    """Package -> version, of those that the device told."""
    return {package: version for package, version in (facts["versions"] or {}).items() if version is not None}
