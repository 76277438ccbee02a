"""The agent's models: artifacts, each opened by a runtime, under a name."""

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
from edgeaudit.agent.messages import ModelMetadata, ServedFacts, TensorMetadata
from edgeaudit.agent.tensors import datatype_of
from edgeaudit.errors import ArtifactError, ProtocolError
from edgeaudit.filetypes.artifact import Artifact, TensorSpec
from edgeaudit.quality.latency import take_times
from edgeaudit.runtimes.base import Runtime

__all__ = ["TURN", "Served", "open_artifacts", "runtime_class"]

TURN = threading.Lock()
"""Lock for all calls of runtimes: an interpreter has one set of buffers, and the redirection of the terminal
(`host/quiet.py`) is global to the process."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def runtime_class(name: str) -> type[Runtime]:
    """The runtime called `name`. Does not import its package."""
    module, cls = RUNTIMES[name]
    loaded: type[Runtime] = getattr(importlib.import_module(module), cls)
    return loaded


class Served:
    """One artifact, opened by its runtime. Requests are serialized, also across artifacts.

    answered: records passed to the runtime, repetitions included.
    """

    VERSION = "1"

    def __init__(self, name: str, runtime: Runtime) -> None:
        self.name = name
        self.runtime = runtime
        self.answered = 0

    def metadata(self) -> ModelMetadata:
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
        """(name, values) of the output. `ProtocolError` if the inputs do not match the file's."""
        tensor = self._checked(inputs)
        with TURN:
            self.answered += len(tensor)
            return self.runtime.artifact.manifest.output.name, self.runtime.ask(tensor)

    def time(
        self, inputs: Mapping[str, npt.NDArray[Any]], repetitions: int, seconds: float
    ) -> tuple[list[float], float]:
        """Milliseconds of calls with one batch, and their CPU share (`quality.latency.take_times`)."""
        tensor = self._checked(inputs)
        if len(tensor) != self.runtime.batch:
            raise ProtocolError(
                f"the model '{self.name}' must be timed with {self.runtime.batch} records, not {len(tensor)}"
            )
        with TURN:
            return take_times(self.runtime.bare_call(tensor), repetitions, seconds)

    def _checked(self, inputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The only tensor, checked against the file's input."""
        expected = self.runtime.artifact.manifest.input
        if set(inputs) != {expected.name}:
            raise ProtocolError(f"the model '{self.name}' takes the tensor '{expected.name}', not {sorted(inputs)}")
        tensor = inputs[expected.name]
        if tensor.dtype != np.dtype(expected.dtype):
            raise ProtocolError(
                f"the tensor '{expected.name}' of '{self.name}' is {datatype_of(expected.dtype)}, not "
                f"{datatype_of(tensor.dtype)}"
            )
        if tensor.shape[1:] != expected.shape[1:] or tensor.ndim == 0 or len(tensor) == 0:
            raise ProtocolError(
                f"the tensor '{expected.name}' of '{self.name}' has the shape {list(expected.shape)}, where -1 is any "
                f"length from 1, not {list(tensor.shape)}"
            )
        return tensor

    def facts(self) -> ServedFacts:
        """The properties of this artifact that decide its outputs."""
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


def open_artifacts(runtime: str, options: Mapping[str, object], folders: Mapping[str, Path]) -> dict[str, Served]:
    """Open artifacts: name -> the model in that folder. Checks the runtime and its options even without folders.

    Raises `ArtifactError` for an invalid name, a folder without a manifest, a file that does not match its manifest,
    and a file that the runtime rejects.
    """
    cls = runtime_class(runtime)
    cls.spec.versions()
    cls.spec.options(options)
    served: dict[str, Served] = {}
    for name, folder in folders.items():
        if not _NAME.fullmatch(name):
            raise ArtifactError(f"'{name}' is not a valid model name; use letters, digits, '.', '_' and '-'")
        try:
            artifact = Artifact.load(folder)
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise ArtifactError(f"{folder} has no readable manifest.json: {exc}") from exc
        artifact.verify()
        served[name] = Served(name, cls(artifact, options))
    return served


def _tensor_metadata(spec: TensorSpec) -> TensorMetadata:
    return {"name": spec.name, "datatype": datatype_of(spec.dtype), "shape": list(spec.shape)}
