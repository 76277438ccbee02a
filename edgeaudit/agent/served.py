"""What the agent serves: artifacts, each opened by a runtime, under a name."""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.agent import RUNTIMES
from edgeaudit.agent.tensors import datatype_of
from edgeaudit.errors import ArtifactError, ProtocolError
from edgeaudit.filetypes.artifact import Artifact, TensorSpec
from edgeaudit.quality.latency import take_times
from edgeaudit.runtimes.base import Runtime

__all__ = ["TURN", "Served", "open_artifacts", "runtime_class"]

TURN = threading.Lock()
"""Held by whoever uses a runtime: an interpreter has one set of buffers, and the terminal that some are kept from
talking to (`runtimes/quiet.py`) is the whole process's."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def runtime_class(name: str) -> type[Runtime]:
    """The runtime called `name`. Its package is not imported yet."""
    module, cls = RUNTIMES[name]
    found: type[Runtime] = getattr(importlib.import_module(module), cls)
    return found


class Served:
    """One artifact in its runtime. Requests take turns, also those for different artifacts.

    answered: records that the runtime was asked, each time that it was.
    """

    VERSION = "1"

    def __init__(self, name: str, runtime: Runtime) -> None:
        self.name = name
        self.runtime = runtime
        self.answered = 0

    def metadata(self) -> dict[str, Any]:
        """The protocol's model metadata."""
        manifest = self.runtime.artifact.manifest
        return {
            "name": self.name,
            "versions": [self.VERSION],
            "platform": f"{self.runtime.spec.name}_{manifest.kind}",
            "inputs": [_tensor_metadata(manifest.input)],
            "outputs": [_tensor_metadata(manifest.output)],
        }

    def infer(self, inputs: Mapping[str, npt.NDArray[Any]]) -> tuple[str, npt.NDArray[Any]]:
        """(name, values) of the output. `ProtocolError` where the inputs are not what the file takes."""
        given = self._taken(inputs)
        with TURN:
            self.answered += len(given)
            return self.runtime.artifact.manifest.output.name, self.runtime.ask(given)

    def time(
        self, inputs: Mapping[str, npt.NDArray[Any]], repetitions: int, seconds: float
    ) -> tuple[list[float], float]:
        """Milliseconds of calls with one batch, and their CPU share (`quality.latency.take_times`)."""
        given = self._taken(inputs)
        if len(given) != self.runtime.batch:
            raise ProtocolError(f"the model '{self.name}' is timed with {self.runtime.batch} records, not {len(given)}")
        with TURN:
            return take_times(self.runtime.bare_call(given), repetitions, seconds)

    def _taken(self, inputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The one tensor, which the file takes."""
        wanted = self.runtime.artifact.manifest.input
        if set(inputs) != {wanted.name}:
            raise ProtocolError(f"the model '{self.name}' takes the tensor '{wanted.name}', not {sorted(inputs)}")
        given = inputs[wanted.name]
        if given.dtype != np.dtype(wanted.dtype):
            raise ProtocolError(
                f"the tensor '{wanted.name}' of '{self.name}' is {datatype_of(wanted.dtype)}, not "
                f"{datatype_of(given.dtype)}"
            )
        if given.shape[1:] != wanted.shape[1:] or given.ndim == 0 or len(given) == 0:
            raise ProtocolError(
                f"the tensor '{wanted.name}' of '{self.name}' has the shape {list(wanted.shape)}, where -1 is 1 or "
                f"more, not {list(given.shape)}"
            )
        return given

    def facts(self) -> dict[str, Any]:
        """What of this artifact decides its answers."""
        manifest = self.runtime.artifact.manifest
        return {
            "file": manifest.file,
            "kind": manifest.kind,
            "sha256": manifest.sha256,
            "bytes": manifest.bytes,
            "options": dict(self.runtime.options),
            "engaged": list(self.runtime.engaged()),
            "engines": list(self.runtime.engines()),
        }


def open_artifacts(runtime: str, options: Mapping[str, Any], folders: Mapping[str, Path]) -> dict[str, Served]:
    """Name -> the artifact in that folder, opened. The runtime and its options are checked without any folder, too.

    Raises `ArtifactError` for a name that is none, for a folder without a manifest, for a file that is not the one that
    its manifest describes, and for what the runtime refuses.
    """
    cls = runtime_class(runtime)
    cls.spec.versions()
    cls.spec.options(options)
    served: dict[str, Served] = {}
    for name, folder in folders.items():
        if not _NAME.fullmatch(name):
            raise ArtifactError(f"'{name}' is no name for a model; take letters, digits, '.', '_' and '-'")
        try:
            artifact = Artifact.load(folder)
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise ArtifactError(f"{folder} has no readable manifest.json: {exc}") from exc
        artifact.verify()
        served[name] = Served(name, cls(artifact, options))
    return served


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": datatype_of(spec.dtype), "shape": list(spec.shape)}
