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
from edgeaudit.filetypes.compiled import require_portable
from edgeaudit.filetypes.recognise import recognised, require_content
from edgeaudit.filetypes.traits import Traits
from edgeaudit.host.packages import installed_versions, package_versions, providing_distribution
from edgeaudit.host.quiet import NO_TELEMETRY, quiet

__all__ = [
    "Array", "Contract", "Fact", "FileType", "FileTypeSpec", "Head", "Range", "WeightTensor", "fits", "held_range",
    "stored_zero",
]  # fmt: skip

Array = npt.NDArray[Any]
Fact = Literal["contract", "weights", "softmax", "operators", "state", "traits"]
"""Facts that can be read from a file, apart from its companions."""
_HEAVY = ("executorch", "tensorflow-cpu", "torch")
"""Distributions that allocate 400 to 900 MB when they are imported; the others allocate less than 70."""
Range = tuple[float, float]
Head = Literal["softmax", "sigmoid", "other"]
"""What an output comes out of, ignoring conversions, quantisation steps and changes of shape."""


@dataclass(frozen=True)
class Contract:
    """Inputs and outputs as declared in the file; layouts are not declared.

    Shapes have -1 for dynamic sizes, and on the batch axis if a runtime can set another batch. ranges: of each input
    that the file quantises, or that is quantised, the smallest and largest value that it can hold; None of others.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ranges: tuple[Range | None, ...] = ()

    @property
    def range(self) -> Range | None:
        """Of the first input."""
        return self.ranges[0] if self.ranges else None


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
    def libraries(self) -> int:
        """Bytes that the installed packages allocate when they are imported, generously."""
        return 2**30 if any(self._build(package) in _HEAVY for package in self.packages) else 2**27

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

    @property
    def states_companions(self) -> bool:
        """Whether the file has to be opened to know which files belong to it."""
        return any("_companions" in vars(kind) for kind in type(self).__mro__ if kind is not FileType)

    @final
    def companions(self, path: Path) -> tuple[str, ...]:
        """Names of the files that belong to `path`, relative to its folder; all of them exist.

        Raises `ArtifactError` if one is missing or lies outside of the folder.
        """
        return self.checked_companions(path, self.stated_companions(path))

    @final
    def stated_companions(self, path: Path) -> tuple[str, ...]:
        """Names of the files that belong to `path`, as the file states them."""
        with self._reading(path):
            names = tuple(self._companions(path))
            _require_texts(*names)
        return names

    @final
    def checked_companions(self, path: Path, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names; the file itself is not opened. Raises as `companions`."""
        for name in names:
            parts = PurePosixPath(name).parts
            # ONNX Runtime takes `*/_ORT_MEM_ADDR_/*` as a location for an address in its own memory.
            if not parts or parts[0] in ("/", "*") or ".." in parts or "\\" in name:
                raise ArtifactError(
                    f"{path} keeps weights in '{name}', outside of its folder; save it again with its weights in its "
                    "folder"
                )
            if not (path.parent / name).is_file():
                raise ArtifactError(
                    f"{path} keeps weights in {name}, which is missing; put {name} next to it, or save the model again"
                )
            if not _lies_beside(path, name):
                raise ArtifactError(
                    f"{path} keeps weights in {name}, a link that leads out of its folder; put the file itself there"
                )
            if (found := recognised(path.parent / name)) is not None and found.stands_in:
                raise ArtifactError(f"{path} keeps weights in {name}, which is {found.what}; {found.remedy}")
        return names

    @final
    def contract(self, path: Path) -> Contract:
        """The file's inputs and outputs: name, shape, dtype, scale and zero point of each tensor.

        Raises `ArtifactError` also for a file that was compiled for hardware that no runtime has.
        """
        self._require("contract", path)
        if "operators" not in self.spec.unreadable:
            require_portable(path, self.operators(path))
        with self._reading(path):
            contract = self._contract(path)
            for tensor in (*contract.inputs, *contract.outputs):
                _require_texts(tensor.name, tensor.alias)
            return contract

    @final
    def weights(self, path: Path) -> list[WeightTensor]:
        """The file's kernels and matrices (see `WeightTensor.is_weight`), each stored tensor once."""
        self._require("weights", path)
        with self._reading(path):
            return [tensor for tensor in self._weights(path) if tensor.is_weight]

    @final
    def head(self, path: Path, output: int = 0) -> Head:
        """What an output comes out of; output: its place among the file's."""
        self._require("softmax", path)
        with self._reading(path):
            return self._head(path, output)

    @final
    def ends_in_softmax(self, path: Path, output: int = 0) -> bool:
        """Whether an output comes out of a softmax; output: its place among the file's."""
        return self.head(path, output) == "softmax"

    @final
    def state(self, path: Path) -> tuple[str, ...]:
        """Names of what the file keeps between calls; runtimes reset it before each of them."""
        self._require("state", path)
        with self._reading(path):
            return tuple(dict.fromkeys(self._state(path)))

    @final
    def traits(self, path: Path, output: int = 0) -> Traits:
        """How the file was made; output: whose last operator is meant, by its place among the file's."""
        self._require("traits", path)
        with self._reading(path):
            return self._traits(path, output)

    @final
    def operators(self, path: Path) -> dict[str, int]:
        """Operator type -> how often the graph and its subgraphs have it, by name."""
        self._require("operators", path)
        counts: dict[str, int] = {}
        with self._reading(path):
            for name in self._operators(path):
                _require_texts(name)
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

    def _head(self, path: Path, output: int) -> Head:
        raise NotImplementedError(path, output)

    def _state(self, path: Path) -> Iterable[str]:  # noqa: ARG002  # most types keep none
        return ()

    def _traits(self, path: Path, output: int) -> Traits:
        del output
        raise ArtifactError(f"{path}: a {self.spec.title} file does not say how it was made")

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
        require_content(path, spec.title, spec.suffixes)
        spec.versions()
        try:
            with quiet(NO_TELEMETRY):
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


def _require_texts(*names: object) -> None:
    """Raise `TypeError` for a name that is not UTF-8, for which protobuf gives bytes."""
    for name in names:
        if not isinstance(name, str):
            raise TypeError("a name in it is no text")


def _lies_beside(path: Path, name: str) -> bool:
    """Whether a companion is below the folder of its file, or of its target where both are links (a hub's cache)."""
    target = (path.parent / name).resolve()
    return any(target.is_relative_to(folder) for folder in (path.parent.resolve(), path.resolve().parent))


def held_range(dtype: str, scale: float, zero_point: int) -> Range | None:
    """The smallest and largest value that a quantised tensor can hold; None for a dtype that is no integer's.

    Examples:
        >>> held_range("int8", 1 / 255, -128)
        (0.0, 1.0)
    """
    if not dtype.startswith(("int", "uint")):
        return None
    info = np.iinfo(dtype)
    return scale * (int(info.min) - zero_point), scale * (int(info.max) - zero_point)


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
