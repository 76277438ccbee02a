"""Base class of file types: what can be read from a model file without running it.

A file type sets `spec` and implements the inner methods (`_contract`, `_weights`, ...) for the facts that its files
contain. The final outer methods check that packages are installed, silence toolchains, and turn any exception of a
reader on a damaged file into an `ArtifactError` that names the file.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, final

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError, EdgeAuditError, MissingToolchain
from edgeaudit.filetypes.artifact import Layout, TensorSpec
from edgeaudit.host.packages import installed_versions, package_versions, providing_distribution
from edgeaudit.host.quiet import NO_TELEMETRY, quiet

__all__ = ["Array", "Contract", "Fact", "FileType", "FileTypeSpec", "WeightTensor", "fits", "stored_zero"]

Array = npt.NDArray[Any]
Fact = Literal["contract", "weights", "softmax", "operators"]
"""Facts that can be read from a file, apart from its companions."""


@dataclass(frozen=True)
class Contract:
    """Inputs and outputs as declared in the file; layouts are not declared.

    Shapes have -1 for dynamic sizes, and on the batch axis if a runtime can set another batch.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class WeightTensor:
    """One constant of a file: its values as stored, and the stored value that means zero, broadcastable to them."""

    name: str
    values: Array
    zero: Array

    @property
    def zeros(self) -> int:
        """Number of entries that are zero."""
        # int4 and bfloat16 have dtypes of ml_dtypes, which compare with their own kind only.
        return int(np.count_nonzero(self.values.astype(np.float32) == self.zero.astype(np.float32)))

    @property
    def is_weight(self) -> bool:
        """Whether it is a kernel or matrix: floats, or integers up to 16 bits, with two or more axes longer than 1.

        Biases, scales and zero points are not (OpenVINO stores them as [c, 1, 1, 1]), nor are shapes and paddings,
        which have 32 or 64 bits.
        """
        if sum(length > 1 for length in self.values.shape) < 2:
            return False
        if self.values.dtype.kind in "iu":
            return self.values.dtype.itemsize <= 2
        return self.values.dtype != np.bool_ and self.values.dtype.kind in "fV"  # V: bfloat16 and int4 of ml_dtypes


@dataclass(frozen=True)
class FileTypeSpec:
    """Description of a file type, readable without heavy imports.

    name: the kind, in manifests (`kind`) and in the specs of passes (`consumes`, `produces`) and runtimes (`serves`).
    title: the usual name of such files, for messages.
    suffixes: of the file, with the dot; the first is the usual one.
    extra: the pip extra that brings `packages`, the distributions that read it; of the distribution that brings the
        file type.
    builds: package -> alternative distributions of the same modules.
    layouts: of a batch of records, in the order in which the type's kernels prefer them.
    unreadable: facts that such files do not contain, each with the reason.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    extra: str
    packages: tuple[str, ...]
    builds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    layouts: tuple[Layout, ...] = ("NCHW", "NHWC", "HW", "flat")
    unreadable: Mapping[Fact, str] = field(default_factory=dict)

    @property
    def adoptable(self) -> bool:
        """Whether foreign files of this type can be audited: they declare inputs and outputs."""
        return "contract" not in self.unreadable

    def versions(self) -> dict[str, str]:
        """Installed version of each package that reads such files; raises `MissingToolchain` with the pip line."""
        return package_versions(
            f"reading {self.title} files", map(self._build, self.packages), self.extra, self.provider
        )

    def provider(self) -> str:
        """The distribution that brings the file type."""
        return providing_distribution(self, "edgeaudit.filetypes")

    def _build(self, package: str) -> str:
        """The installed one of a package's builds."""
        installed = installed_versions((package, *self.builds.get(package, ())))
        return next((name for name, version in installed.items() if version is not None), package)


class FileType(ABC):
    """A file type. Subclasses set `spec` and implement an inner method for each fact not in `spec.unreadable`.

    All methods read from disk at each call; none runs the model. Each raises `MissingToolchain` if a package is
    missing, and `ArtifactError` if the file or a companion cannot be read, or the file does not contain the fact.

        >>> from edgeaudit.filetypes.registry import find_filetype
        >>> find_filetype("openvino").spec.suffixes
        ('.xml',)
    """

    spec: ClassVar[FileTypeSpec]

    @final
    def companions(self, path: Path) -> tuple[str, ...]:
        """Names of the files that belong to `path`, relative to its folder; all of them exist.

        Raises `ArtifactError` if one is missing or lies outside of the folder.
        """
        with self._reading(path):
            names = tuple(self._companions(path))
        for name in names:
            parts = PurePosixPath(name).parts
            if not parts or parts[0] == "/" or ".." in parts or "\\" in name:
                raise ArtifactError(
                    f"{path} keeps weights in '{name}', outside of its folder; save it again with its weights in its "
                    "folder"
                )
            if not (path.parent / name).is_file():
                raise ArtifactError(
                    f"{path} keeps weights in {name}, which is missing; put {name} next to it, or save the model again"
                )
        return names

    @final
    def contract(self, path: Path) -> Contract:
        """The file's inputs and outputs: name, shape, dtype, scale and zero point of each tensor."""
        self._require("contract", path)
        with self._reading(path):
            return self._contract(path)

    @final
    def weights(self, path: Path) -> list[WeightTensor]:
        """The file's kernels and matrices (see `WeightTensor.is_weight`), each stored tensor once."""
        self._require("weights", path)
        with self._reading(path):
            return [tensor for tensor in self._weights(path) if tensor.is_weight]

    @final
    def ends_in_softmax(self, path: Path) -> bool:
        """Whether the first output comes out of a softmax, ignoring conversions and quantisation steps."""
        self._require("softmax", path)
        with self._reading(path):
            return self._ends_in_softmax(path)

    @final
    def operators(self, path: Path) -> dict[str, int]:
        """Operator type -> how often the graph and its subgraphs have it, by name."""
        self._require("operators", path)
        counts: dict[str, int] = {}
        with self._reading(path):
            for name in self._operators(path):
                counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items()))

    @final
    def size(self, path: Path) -> int:
        """Bytes of the file and its companions."""
        return sum((path.parent / name).stat().st_size for name in (path.name, *self.companions(path)))

    def _companions(self, path: Path) -> Iterable[str]:  # noqa: ARG002  # most types are one file
        return ()

    def _contract(self, path: Path) -> Contract:
        raise NotImplementedError(path)

    def _weights(self, path: Path) -> Iterable[WeightTensor]:
        """Every constant that may be a weight; `weights` picks those that are."""
        raise NotImplementedError(path)

    def _ends_in_softmax(self, path: Path) -> bool:
        raise NotImplementedError(path)

    def _operators(self, path: Path) -> Iterable[str]:
        """The type of each operator, once for each time that the file has it."""
        raise NotImplementedError(path)

    @final
    def _require(self, fact: Fact, path: Path) -> None:
        if fact in self.spec.unreadable:
            raise ArtifactError(f"{path}: {self.spec.unreadable[fact]}")
        self.companions(path)

    @final
    @contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        """Silence the readers, and name the file in their errors."""
        spec = self.spec
        spec.versions()
        try:
            with quiet(NO_TELEMETRY):
                path.open("rb").close()  # readers differ in how they report a missing file
                yield
        except EdgeAuditError:
            raise
        except ImportError as exc:
            raise MissingToolchain(
                f"reading {spec.title} files", exc.name or spec.packages[0], spec.extra, spec.provider()
            ) from exc
        except OSError as exc:
            raise ArtifactError(f"{path} cannot be read: {exc.strerror or exc}") from exc
        except Exception as exc:  # readers raise their own classes; there is no common base
            reason = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
            raise ArtifactError(
                f"cannot read {path} as {spec.title}: it is truncated, damaged or of another type ({reason})"
            ) from exc


def fits(sizes: tuple[int, ...], record: tuple[int, ...], layout: Layout) -> bool:
    """Whether records of shape `record` have these sizes in that layout; -1 matches any.

    record: (C, H, W), or (d,), (T, C) or (C, T), which are `flat`: no layout is known of them.
    """
    if (len(record) == 3) == (layout == "flat") or (layout == "HW" and record[0] != 1):
        return False
    native = {"NCHW": record, "NHWC": (*record[1:], record[0]), "HW": record[1:], "flat": record}[layout]
    return len(sizes) == len(native) and all(
        size in (-1, expected) for size, expected in zip(sizes, native, strict=True)
    )


def stored_zero(values: Array, zero: Array | None = None, axis: int | None = None) -> Array:
    """The stored zero of a tensor, shaped so that it broadcasts: a scalar, or one entry for each index along `axis`."""
    if zero is None or zero.size == 0:
        return np.zeros((), np.float32)
    if zero.size == 1 or axis is None:
        return zero.reshape(()) if zero.size == 1 else zero
    shape = [1] * values.ndim
    shape[axis] = zero.size
    return zero.reshape(shape)
