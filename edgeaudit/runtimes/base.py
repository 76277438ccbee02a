"""Base class of runtimes: artifact + inputs -> raw outputs. Device side: needs numpy and the runtime's package."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError, EdgeAuditError, did_you_mean, pip_line
from edgeaudit.filetypes.artifact import Artifact, Kind, TensorSpec
from edgeaudit.host.isolation import IsolationGroup
from edgeaudit.host.packages import installed_versions, package_versions, providing_distribution
from edgeaudit.settings import Settings

if TYPE_CHECKING:
    from edgeaudit.runtimes.execution_providers import EngineFile

__all__ = ["Runtime", "RuntimeSpec"]


@dataclass(frozen=True)
class RuntimeSpec:
    """Description of a runtime, readable without importing it.

    serves: the file type. defaults: every option and its default, chosen so that this machine can stand in for a
    device. deployed: options whose default differs on a device, where the runtime runs as in an application. isolation:
    group of the worker processes that can import it. refuses: passes whose files it computes wrongly, with the reason.
    code: modules in addition to its own that decide its outputs. builds: package -> alternative distributions of the
    same module.
    """

    name: str
    extra: str
    packages: tuple[str, ...]
    serves: Kind
    summary: str
    defaults: Mapping[str, object] = field(default_factory=dict)
    deployed: Mapping[str, object] = field(default_factory=dict)
    isolation: IsolationGroup = "torch"
    refuses: Mapping[str, str] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    builds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def installed(self) -> dict[str, str | None]:
        """Version of each package, None if it is missing."""
        return installed_versions(self._distributions())

    def _distributions(self) -> tuple[str, ...]:
        """The packages, each by the names of its installed builds."""
        names: list[str] = []
        for package in self.packages:
            has = installed_versions((package, *self.builds.get(package, ())))
            names += [name for name, version in has.items() if version is not None] or [package]
        return tuple(names)

    def installed_packages(self) -> tuple[str, ...]:
        """The distributions whose versions decide the outputs, by the names of the installed builds."""
        return self._distributions()

    @property
    def remedy(self) -> str:
        """The command that installs what is missing."""
        return pip_line(self.extra, self._provider())

    @property
    def timed_here(self) -> bool:
        """Whether calls can be timed in this process, without a round trip to another one."""
        return True

    def require_no_known_fault(self, passes: Iterable[str]) -> None:
        """`ArtifactError` with the reason if this runtime is known to compute files of one of the passes wrongly."""
        for name in passes:
            if name in self.refuses:
                raise ArtifactError(f"the runtime '{self.name}' does not serve files of '{name}': {self.refuses[name]}")

    def versions(self) -> dict[str, str]:
        """Installed version of each package; raises `MissingToolchain` with the pip command."""
        return package_versions(f"the runtime '{self.name}'", self._distributions(), self.extra, self._provider)

    def _provider(self) -> str:
        return providing_distribution(self, "edgeaudit.runtimes")

    def options(self, values: Mapping[str, object]) -> Settings:
        """Defaults overridden by `values`; `ArtifactError` for an unknown option or an invalid batch size."""
        unknown = sorted(set(values) - set(self.defaults))
        if unknown:
            raise ArtifactError(
                f"the runtime '{self.name}' has no option '{unknown[0]}'; it has: "
                + ", ".join(sorted(self.defaults))
                + f".{did_you_mean(unknown[0], self.defaults)}"
            )
        chosen = Settings({**self.defaults, **values})
        batch = chosen["batch"]
        if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
            raise ArtifactError(f"the option 'batch' of '{self.name}' must be an integer from 1, not {batch!r}")
        return chosen


class Runtime(ABC):
    """A loaded artifact that runs inference in one thread, with a fixed batch size.

    Subclasses set `spec` and write `_open` and `_answer`. `batch` is an option of every runtime: it is part of
    the format, because the outputs of dynamically quantised models depend on the other records in the batch.
    """

    spec: ClassVar[RuntimeSpec]

    @final
    def __init__(self, artifact: Artifact, options: Mapping[str, object] | None = None) -> None:
        self.options = self.spec.options(options or {})
        if artifact.manifest.kind != self.spec.serves:
            raise ArtifactError(
                f"the runtime '{self.spec.name}' serves {self.spec.serves} files, "
                f"but {artifact.manifest.file} is {artifact.manifest.kind}"
            )
        self.spec.require_no_known_fault(record.name for record in artifact.manifest.passes)
        self.artifact = artifact
        fixed = artifact.manifest.input.shape[0]
        if fixed > 0:
            self.options["batch"] = fixed
        self.batch = self.options["batch"]
        self.spec.versions()
        with _runtime_errors(f"{self.spec.name} cannot load {artifact.path}"):
            self._open()

    @final
    def query(self, records: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run inference on records.

        records: float32 [n, C, H, W] or [n, d], as the recipe saw them in training.
        Returns float32 [n, classes]: the outputs, dequantised if they are integers; of a file with one value per
        record, the probabilities or logits of both labels.
        The last batch is padded by repeating its last record, so that every call has the same shape.
        """
        self._require_shape(records)
        manifest = self.artifact.manifest
        outputs = manifest.outputs
        if len(records) == 0:
            whole = manifest.output.shape[-1] if manifest.single is None else 2
            return np.empty((0, whole if outputs is None else len(outputs)), np.float32)
        raw = self.ask(self._to_native(np.asarray(records, np.float32)))
        answers = _both_labels(_dequantise(raw, manifest.output), manifest.single)
        return answers if outputs is None else np.ascontiguousarray(answers[:, outputs])

    @final
    def ask(self, native: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Run inference on tensors in the file's own layout and dtype, without quantisation steps.

        native: [n, ...] with n >= 1. Returns [n, values]; other axes of the file's output have length 1.
        """
        raw = self._answer_all(native)
        values = self.artifact.manifest.output.shape[-1]
        if raw.ndim != 2 and raw.ndim > 0 and max(raw.shape[1:], default=1) * len(raw) == raw.size:
            raw = raw.reshape(len(native), -1)
        if raw.ndim != 2 or values not in (-1, raw.shape[1]) or len(raw) != len(native):
            raise ArtifactError(f"{self.artifact.path.name} returned shape {raw.shape}, not [records, {values}]")
        return raw

    def _answer_all(self, native: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Run any number of records in batches. Remote runtimes leave the batching to the server."""
        answers = []
        for start in range(0, len(native), self.batch):
            block = native[start : start + self.batch]
            short = self.batch - len(block)
            if short:
                block = np.concatenate([block, np.repeat(block[-1:], short, axis=0)])
            with _runtime_errors(f"{self.spec.name} failed on {self.artifact.path}"):
                answers.append(self._answer(np.ascontiguousarray(block))[: self.batch - short])
        return np.concatenate(answers)

    @final
    def native_call(self, records: npt.NDArray[np.float32]) -> Callable[[], object]:
        """A callable for timing: the runtime's own call on one native batch.

        records: float32 [batch, ...], as for `query`. They are transposed and quantised once, outside of the call,
        since a device's sensor delivers the file's own layout and dtype. The call copies the block in, computes, and
        returns the raw outputs.
        """
        self._require_shape(records)
        return self.bare_call(self._to_native(np.asarray(records, np.float32)))

    @final
    def bare_call(self, native: npt.NDArray[Any]) -> Callable[[], object]:
        """`native_call` for one batch of tensors as the file takes them: [batch, ...]."""
        if len(native) != self.batch:
            raise ArtifactError(f"{self.spec.name} was opened for batches of {self.batch} records, not {len(native)}")
        return self._bare_call(np.ascontiguousarray(native))

    @final
    def _require_shape(self, records: npt.NDArray[np.float32]) -> None:
        expected = _record_shape(self.artifact.manifest.input)
        if records.shape[1:] != expected:
            raise ArtifactError(f"{self.artifact.path.name} takes records of shape {expected}, not {records.shape[1:]}")

    @final
    def _to_native(self, records: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        spec = self.artifact.manifest.input
        if spec.layout == "NHWC":
            records = np.transpose(records, (0, 2, 3, 1))
        if spec.layout == "HW":
            records = records[:, 0]
        return _quantise(records, spec)

    @abstractmethod
    def _open(self) -> None:
        """Load `self.artifact.path`."""

    def engaged(self) -> tuple[str, ...]:
        """Delegates or execution providers that are really used, as reported by the runtime; empty if none."""
        return ()

    def remote_times(
        self,
        records: npt.NDArray[np.float32],  # noqa: ARG002  for remote runtimes
        repetitions: int,  # noqa: ARG002
        seconds: float,  # noqa: ARG002
    ) -> tuple[list[float], float] | None:
        """Milliseconds of calls with one batch, measured remotely, and their CPU share; None for a local runtime."""
        return None

    def close(self) -> None:  # noqa: B027  most runtimes have nothing to stop
        """Stop what was started for this artifact; a local runtime has nothing to stop."""

    def engines(self) -> tuple[EngineFile, ...]:
        """Files that it compiled on this device and uses."""
        return ()

    @abstractmethod
    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Run one batch in the artifact's own layout and dtype."""

    def _bare_call(self, block: npt.NDArray[Any]) -> Callable[[], object]:
        """`_answer` of one block, without the overhead that only this Python process needs."""
        return lambda: self._answer(block)


@contextmanager
def _runtime_errors(what: str) -> Iterator[None]:
    try:
        yield
    except EdgeAuditError:
        raise
    except Exception as exc:  # a runtime raises its own C++ classes; there is no common base
        raise ArtifactError(f"{what}: {exc}") from exc


def _record_shape(spec: TensorSpec) -> tuple[int, ...]:
    """The shape of one record as `query` takes it: channels first."""
    if spec.layout == "NHWC":
        height, width, channels = spec.shape[1:]
        return channels, height, width
    if spec.layout == "HW":
        return 1, *spec.shape[1:]
    return spec.shape[1:]


def _quantise(values: npt.NDArray[np.float32], spec: TensorSpec) -> npt.NDArray[Any]:
    if not np.issubdtype(np.dtype(spec.dtype), np.integer):
        return values.astype(spec.dtype, copy=False)
    # An integer input without a scale takes the values themselves.
    info = np.iinfo(spec.dtype)
    codes = np.round(values / np.float32(spec.scale or 1)) + (spec.zero_point or 0)
    quantised: npt.NDArray[Any] = np.clip(codes, info.min, info.max).astype(spec.dtype)
    return quantised


def _both_labels(answers: npt.NDArray[np.float32], single: str | None) -> npt.NDArray[np.float32]:
    """Answers [n, 1] for label 1 as answers for labels 0 and 1, [n, 2]: 1 - p and p, or the logits 0 and z."""
    if single is None:
        return answers
    other = 1 - answers if single == "probability" else np.zeros_like(answers)
    return np.concatenate([other, answers], axis=1)


def _dequantise(raw: npt.NDArray[Any], spec: TensorSpec) -> npt.NDArray[np.float32]:
    if spec.scale is None:
        return raw.astype(np.float32, copy=False)
    return (raw.astype(np.float32) - np.float32(spec.zero_point or 0)) * np.float32(spec.scale)
