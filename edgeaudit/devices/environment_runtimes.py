"""Runtimes whose packages are in an environment of their own: the agent serves them from there."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.agent import MAX_BODY
from edgeaudit.artifact import Artifact
from edgeaudit.devices.agent_file import agent_in
from edgeaudit.devices.agent_process import AgentProcess
from edgeaudit.devices.environments import Environment, find_environment
from edgeaudit.errors import ArtifactError
from edgeaudit.runtimes.base import Contract, Runtime, RuntimeSpec
from edgeaudit.runtimes.litert import LiteRT
from edgeaudit.runtimes.tflite_runtime import TfliteRuntime

__all__ = ["EnvironmentRuntime", "EnvironmentSpec", "TfliteRuntimeElsewhere"]

_MODEL = "model"
_REQUEST_BYTES = 8 << 20
"""Of tensors in one request, where a batch is not larger."""
_HEAD_ROOM = 1 << 16


@dataclass(frozen=True)
class EnvironmentSpec(RuntimeSpec):
    """A runtime's spec with the name of the environment that its packages are in."""

    environment: str = ""

    @classmethod
    def of(cls, spec: RuntimeSpec, environment: str) -> EnvironmentSpec:
        """The device side's spec, as it is seen from here."""
        known = {field.name: getattr(spec, field.name) for field in fields(RuntimeSpec)}
        module = ("edgeaudit.runtimes.tflite_runtime", "edgeaudit.agent", "edgeaudit.devices.agent_process")
        return cls(**{**known, "code": (*spec.code, *module, "edgeaudit.devices.oip")}, environment=environment)

    @property
    def home(self) -> Environment:
        """The environment itself."""
        return find_environment(self.environment)

    @property
    def remedy(self) -> str:
        """The command that makes the environment."""
        return self.home.remedy

    @property
    def timed_here(self) -> bool:
        """False: a call goes through the agent."""
        return False

    def installed(self) -> dict[str, str | None]:
        """Version of each package in the environment, None where it is missing."""
        return self.home.installed(self.packages)

    def versions(self) -> dict[str, str]:
        """Version of each package in the environment; raises `MissingEnvironment` with the command that makes it."""
        return self.home.versions(self.packages)


class EnvironmentRuntime(Runtime):
    """A runtime that an agent serves from its environment: one process for each artifact that is opened.

    The process starts when the artifact is opened, has one thread and ends with this object or with this process.
    Records are scaled and transposed here and batched there, by the code that does both for runtimes in this process.
    """

    def _open(self) -> None:
        spec = self.spec
        assert isinstance(spec, EnvironmentSpec)  # noqa: S101  a mistake of whoever wrote the subclass
        row = np.dtype(self.artifact.manifest.input.dtype).itemsize * int(
            np.prod(self.artifact.manifest.input.shape[1:], dtype=np.int64)
        )
        batches = max(1, _REQUEST_BYTES // max(1, row * self.batch))
        command = [str(spec.home.python()), "-I", str(agent_in(spec.home.folder))]
        largest = max(MAX_BODY, batches * self.batch * row + _HEAD_ROOM)
        with tempfile.TemporaryDirectory(prefix="edgeaudit-") as folder:
            shipped = {_MODEL: _shipped(self.artifact, Path(folder))}
            try:
                self._agent = AgentProcess(command, spec.name, shipped, self.options, max_body=largest)
            except ArtifactError as exc:  # it names the file as it was given it
                raise ArtifactError(str(exc).replace(folder, str(self.artifact.folder))) from exc
        self._step = batches * self.batch
        self.options = self._agent.client.facts(_MODEL)["options"]  # as the runtime has them after opening the file
        self.batch = self.options["batch"]

    def _answer_all(self, native: npt.NDArray[Any]) -> npt.NDArray[Any]:
        manifest, ask = self.artifact.manifest, self._agent.client.infer
        # Whole batches in each request, so that the batches are those of one request for everything.
        blocks = [native[start : start + self._step] for start in range(0, len(native), self._step)]
        answers = [ask(_MODEL, {manifest.input.name: block})[manifest.output.name] for block in blocks]
        return np.concatenate(answers)

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return self._answer_all(block)

    def engaged(self) -> tuple[str, ...]:
        """As the agent tells."""
        return tuple(self._agent.client.facts(_MODEL)["engaged"])

    def close(self) -> None:
        """End the process now."""
        self._agent.close()


class TfliteRuntimeElsewhere(EnvironmentRuntime):
    """tflite-runtime 2.14, which needs numpy 1."""

    spec = EnvironmentSpec.of(TfliteRuntime.spec, "tflite-runtime")

    @classmethod
    def _contract(cls, path: Path) -> Contract:
        # The file says the same to every interpreter of its kind.
        return LiteRT.contract(path)


def _shipped(artifact: Artifact, folder: Path) -> Path:
    """The folder, filled with what a device gets: the files, and a manifest without what it need not know."""
    artifact.verify()
    manifest = replace(artifact.manifest, calibration_ids=(), calibration_policy=None, recipe={})
    Artifact(folder, manifest).save()
    for name in (manifest.file, *manifest.companions):
        (folder / name).symlink_to((artifact.folder / name).resolve())
    return folder
