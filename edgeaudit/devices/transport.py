"""Transports to a device: how artifacts are put into service there, and how they are queried.

Every transport ends at an Open Inference Protocol v2 server, queried over loopback or the network. Transports differ in
who starts that server and what it runs on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import numpy.typing as npt

from edgeaudit.agent.messages import Fingerprint, Machine, ProbeResult, ServedFacts, ServerMetadata
from edgeaudit.endpoint import Endpoint
from edgeaudit.errors import DeviceError

__all__ = [
    "DeviceProperties", "Emulator", "InferenceSession", "Transport", "TransportSpec", "properties",
]  # fmt: skip


class Emulator(TypedDict):
    """The program that emulates a CPU. sha256: of its file, in hex."""

    name: str
    version: str
    sha256: str


class _Versions(TypedDict):
    versions: dict[str, str | None]


class DeviceProperties(_Versions, Machine, total=False):
    """The properties of a device that decide a runtime's outputs, as far as they can be known before a query.

    versions: package of the runtime -> version, null if unknown. agent, numpy, threads, probes: as in `Fingerprint`, of
    an agent that runs already. emulator, userland, wheels: of an emulated device, the latter two as SHA-256. server:
    that runs already; model: its name, versions and platform of the model in audit.yaml, null if there is none.
    """

    agent: str | None
    numpy: str | None
    threads: int | None
    probes: dict[str, ProbeResult] | None
    emulator: Emulator
    userland: str
    wheels: str
    server: ServerMetadata
    model: dict[str, object] | None


def properties(machine: Machine, versions: Mapping[str, str | None]) -> DeviceProperties:
    """The properties of a machine and of the packages (name -> version) of the runtime on it."""
    return {
        "machine": machine.get("machine"),
        "cpu": machine.get("cpu"),
        "isa": machine.get("isa"),
        "os": machine.get("os"),
        "libc": machine.get("libc"),
        "python": machine.get("python"),
        "versions": dict(versions),
    }


class InferenceSession(ABC):
    """Artifacts that are being served on a device."""

    @abstractmethod
    def infer(self, model: str, native: npt.NDArray[Any], request: str) -> npt.NDArray[Any]:
        """Run the model on one tensor, in the file's own layout and dtype.

        native: [n, ...]. request: ID of the request; a retry after a lost response keeps it, so that a server with a
        response cache need not compute again. Returns the first output, [n, classes]. Raises `DeviceLost` if the
        connection is gone (call `restore`, then retry), `DeviceError` if the device refuses, and `ProtocolError` if the
        response is malformed.
        """

    @abstractmethod
    def facts(self, model: str) -> ServedFacts:
        """What the server reports about an artifact it serves."""

    @abstractmethod
    def fingerprint(self) -> Fingerprint:
        """Everything that distinguishes devices whose outputs differ; {} if the server does not report it."""

    def time(
        self,
        model: str,
        native: npt.NDArray[Any],  # noqa: ARG002  for subclasses
        repetitions: int,  # noqa: ARG002
        seconds: float,  # noqa: ARG002
    ) -> tuple[list[float], float]:
        """Milliseconds of calls with one batch on the device, and the ratio of their CPU time to their wall time."""
        raise DeviceError(f"'{model}' cannot be timed where it is served")

    @abstractmethod
    def restore(self) -> None:
        """Reconnect after a lost connection, and restart what has exited. Raises `DeviceLost` if not possible yet.

        Does not wait; the caller backs off between attempts.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop what this session started and clean up. Idempotent."""


@dataclass(frozen=True)
class TransportSpec:
    """Description of a transport, readable without connecting.

    name: the scheme of its addresses. written: an address as it appears in audit.yaml and in messages.
    """

    name: str
    written: str
    summary: str


class Transport(ABC):
    """A transport to one device.

    timed: whether latency measured there is that of the device; never under emulation.
    exclusive: whether at most one job may query the device at a time.
    loads: whether artifacts can be copied there; otherwise the server keeps the models it has.
    """

    spec: ClassVar[TransportSpec]
    timed: ClassVar[bool] = False
    exclusive: ClassVar[bool] = True
    loads: ClassVar[bool] = True

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    @abstractmethod
    def facts(self, runtime: str) -> DeviceProperties:
        """The properties of the device that decide a runtime's outputs, as plain JSON; part of every query's key.

        Has at least machine, cpu, isa, os, python and versions, each null if it cannot be known beforehand. Raises
        `DeviceError` or `MissingEnvironment`, with the remedy, if the device cannot be reached, was not prepared, or
        lacks the runtime.
        """

    @abstractmethod
    def serve(
        self,
        runtime: str,
        artifacts: Mapping[str, Path],
        options: Mapping[str, object],
        *,
        max_body: int | None = None,
    ) -> InferenceSession:
        """Serve artifacts (model name -> folder with manifest.json) with a runtime and its options.

        max_body: bytes of the largest request. Raises `ArtifactError` if the runtime rejects an artifact there.
        """
