"""Ways to a device: how artifacts get to where they are served, and how they are asked there.

Every way ends in the same place, an Open Inference Protocol v2 server that is asked over loopback or the network; what
differs is who starts it and what it runs on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy.typing as npt

from edgeaudit.endpoint import EMULATED, LOCAL, Reach
from edgeaudit.errors import DeviceError

__all__ = ["EMULATED", "LOCAL", "Reach", "Serving", "TransportSpec", "Way"]


class Serving(ABC):
    """Artifacts that are being served on a device."""

    @abstractmethod
    def infer(self, model: str, native: npt.NDArray[Any], request: str) -> npt.NDArray[Any]:
        """Answer tensors as the file takes and gives them.

        native: [n, ...]. request: names this question; the same question asked again after a lost answer has the same
        name, so that a server that remembers need not compute it again. Returns the first output, [n, classes].
        Raises `DeviceLost` where the connection is gone (then `restore` and ask again), `DeviceError` where the device
        refuses, and `ProtocolError` where it answers nonsense.
        """

    @abstractmethod
    def facts(self, model: str) -> Mapping[str, Any]:
        """What the far side says of an artifact that it serves: {"options", "engaged", "sha256", ...}."""

    @abstractmethod
    def fingerprint(self) -> Mapping[str, Any]:
        """Everything by which two devices that answer differently can be told apart; {} of a server without it."""

    def time(
        self,
        model: str,
        native: npt.NDArray[Any],  # noqa: ARG002  for those that can
        repetitions: int,  # noqa: ARG002
        seconds: float,  # noqa: ARG002
    ) -> tuple[list[float], float]:
        """Milliseconds of calls with one batch on the device, and their CPU time over their wall time."""
        raise DeviceError(f"nothing times '{model}' where it is served")

    @abstractmethod
    def restore(self) -> None:
        """Reach the far side again after the connection was lost, starting again what has ended. `DeviceLost`: not yet.

        Nothing waits in here; whoever calls backs off between tries.
        """

    @abstractmethod
    def close(self) -> None:
        """End what was started, and leave nothing behind. Once is enough; more does no harm."""


@dataclass(frozen=True)
class TransportSpec:
    """What a transport is; readable without connecting.

    name: the scheme of its addresses. written: an address as audit.yaml and messages have it.
    """

    name: str
    written: str
    summary: str


class Way(ABC):
    """One way to one device.

    timed: whether a call there takes what it takes on the device; never under emulation.
    alone: whether the device is one thing, which two jobs must not ask at a time.
    loads: whether artifacts can be brought there; otherwise it serves what it serves.
    """

    spec: ClassVar[TransportSpec]
    timed: ClassVar[bool] = False
    alone: ClassVar[bool] = True
    loads: ClassVar[bool] = True

    def __init__(self, reach: Reach) -> None:
        self.reach = reach

    @abstractmethod
    def facts(self, runtime: str) -> dict[str, Any]:
        """What of the device decides a runtime's answers; enters the key of every query, so it is plain JSON.

        Has at least {"machine", "cpu", "isa", "os", "python", "versions": {package: version}}, each null where it
        cannot be known beforehand. Raises a `DeviceError` or `MissingEnvironment` with the remedy where the device
        cannot be reached, was not prepared, or lacks the runtime.
        """

    @abstractmethod
    def serve(
        self,
        runtime: str,
        artifacts: Mapping[str, Path],
        options: Mapping[str, Any],
        *,
        max_body: int | None = None,
    ) -> Serving:
        """Serve artifacts (model name -> folder with manifest.json) with a runtime and its options.

        max_body: bytes of the largest request. Raises `ArtifactError` for an artifact that the runtime refuses there.
        """
