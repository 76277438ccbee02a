"""Data sources: each returns records and labels (x, y) in the source's own form.

A source also has a fingerprint of its content, so that an unchanged source is not read again.
"""

from __future__ import annotations

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from zipfile import ZipFile, is_zipfile

import numpy as np
import numpy.typing as npt

from edgeaudit.digests import path_sha256
from edgeaudit.errors import DataError, EdgeAuditError, MissingToolchain, did_you_mean, reason_of, unquoted
from edgeaudit.population.functions import as_array, raw_of_result
from edgeaudit.population.memory import array_bytes, require_memory
from edgeaudit.population.raw import Raw, Table
from edgeaudit.population.registry import SOURCES
from edgeaudit.recipes.base import import_function

__all__ = [
    "Digits", "Function", "Npz", "Raw", "Source", "SourceSpec", "SourceUse", "Torchvision",
    "column_values", "content_sha256", "find_source", "read_array",
]  # fmt: skip


@dataclass(frozen=True)
class SourceSpec:
    """The description of a source, available without reading it.

    name: as in `data.source`. written: its form there, if that is more than the name.
    takes_name: audit.yaml names something in the source behind a colon, as in `torchvision:CIFAR10`.
    needs_path: `data.path` is required. options: names of `data.options`; None where any are taken.
    """

    name: str
    summary: str
    written: str = ""
    takes_name: bool = False
    needs_path: bool = False
    options: tuple[str, ...] | None = None


@dataclass(frozen=True)
class SourceUse:
    """The settings of a source in audit.yaml.

    name: `data.source`, whole.
    path: the file or folder, which exists; None where none is given.
    options: `data.options`.
    where: the key of audit.yaml that gives the path, for messages.
    task: of audit.yaml.
    """

    name: str
    path: Path | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    where: str = "data.path"
    task: str = "classification"


class Source(ABC):
    """Where records and labels come from. Subclasses set `spec`, write `read` and, where they can, `fingerprint`.

    Raises `DataError` for a path that is missing, one that does not exist, and an option that is not of the spec's.
    """

    spec: ClassVar[SourceSpec]

    def __init__(self, use: SourceUse) -> None:
        self.use = use
        if self.spec.needs_path and use.path is None:
            raise DataError(f"{use.where}: the source '{self.spec.name}' needs a path")
        if use.path is not None and not use.path.exists():
            raise DataError(
                f"{use.where}: {use.path} does not exist. A relative path is taken from the folder of audit.yaml"
            )
        if use.path is not None and not (use.path.is_file() or use.path.is_dir()):
            raise DataError(f"{use.where}: {use.path} is neither a file nor a folder, and may never end")
        known = self.spec.options
        unknown = [] if known is None else [name for name in use.options if name not in known]
        if known is not None and unknown:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise DataError(
                f"data.options: the source '{self.spec.name}' has no option '{unknown[0]}'."
                f"{did_you_mean(unknown[0], known)} Of options {takes}"
            )

    @property
    def name(self) -> str:
        """The name in reports."""
        return self.use.name

    @property
    def path(self) -> Path:
        """The file or folder of a source that needs one."""
        assert self.use.path is not None  # noqa: S101  see __init__
        return self.use.path

    @abstractmethod
    def read(self) -> Raw:
        """Load the records. Raises `DataError` that names the file or key and the remedy."""

    def fingerprint(self) -> str | None:
        """A string that changes with the content; None if only reading the records can tell."""
        return None

    def column(self, name: str, where: str) -> npt.NDArray[Any]:
        """A value for each record, in the order of `read`, such as the person it is of; covered by the fingerprint.

        name: of the array or column. where: the key of audit.yaml that names it, for messages.

        Raises:
            DataError: there is no such column, or the source has none.
        """
        raise DataError(
            f"{where}: '{name}' is no column, since the source '{self.spec.name}' has only records and labels; write a "
            "function of your own, as module:function"
        )


def find_source(
    name: str,
    path: Path | None,
    keys: Mapping[str, object],
    where: str = "data.path",
    task: str = "classification",
) -> Source:
    """The source that `data.source` names.

    name: digits | npz | folder | torchvision:<DataSet> | another package's | module:function.
    path: the file or folder (npz, folder, torchvision root).
    keys: `x` and `y`, the arrays' names in an .npz; other entries are arguments of a torchvision data set or of the
        user's function.
    where: the key of audit.yaml that gave the path, for messages.
    task: of audit.yaml; records that are their own truth need no labels.
    """
    use, known = SourceUse(name, path, keys, where, task), SOURCES.names()
    before, colon, _ = name.partition(":")
    if before in known and bool(colon) == SOURCES.find(before).spec.takes_name:
        return SOURCES.find(before)(use)
    if colon:
        return Function(use)
    written = (spec.written or spec.name for spec in SOURCES.specs())
    raise DataError(
        f"data.source: '{name}' is not known.{did_you_mean(name, known)} It is one of: {', '.join(written)}, "
        "module:function"
    )


def column_values(name: str, sources: Mapping[str, Source], raw: Raw, where: str) -> npt.NDArray[Any]:
    """One value for each record: from a column of the source, or from the user's function of the records.

    name: a column's name, or `module:function`, which is called with the records as the source gives them; with the
        columns by name where they are a table.
    where: the key of audit.yaml that gives the name, for messages.
    """
    if ":" in name:
        records = raw.x.columns if isinstance(raw.x, Table) else raw.x
        return np.asarray(import_function(name)(records))
    if name in raw.columns:
        return raw.columns[name]
    if isinstance(raw.x, Table) and name in raw.x.columns:
        return raw.x.columns[name]
    known = [*raw.columns, *(raw.x.columns if isinstance(raw.x, Table) else ())]
    if known and all(type(source).column is Source.column for source in sources.values()):
        raise DataError(
            f"{where}: there is no column '{name}'.{did_you_mean(name, known)} There are {', '.join(known)}"
        )
    return np.concatenate([source.column(name, where) for source in sources.values()])


def content_sha256(path: Path) -> str:
    """Of a file, or of all files of a folder with their names."""
    try:
        return path_sha256(path)
    except OSError as exc:
        raise DataError(f"data.path: {exc.filename or path} cannot be read: {exc.strerror}") from exc


class Digits(Source):
    """scikit-learn's 1,797 handwritten digits."""

    spec: ClassVar[SourceSpec] = SourceSpec(
        "digits", "scikit-learn's handwritten digits, 1,797 images of 8 x 8", options=()
    )

    def read(self) -> Raw:
        """See `Source.read`."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        # Pixels are counts 0..16; as bytes 0..255 they pass through the same scaling as any image.
        return Raw(np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.int64))

    def fingerprint(self) -> str:
        """See `Source.fingerprint`."""
        return f"scikit-learn {metadata.version('scikit-learn')}"


class Npz(Source):
    """Two arrays of an .npz; data.options has their names as `x` and `y`."""

    spec: ClassVar[SourceSpec] = SourceSpec("npz", "arrays x and y of an .npz", needs_path=True, options=("x", "y"))

    @property
    def name(self) -> str:
        """See `Source.name`."""
        return f"npz:{self.path.name}"

    def read(self) -> Raw:
        """See `Source.read`."""
        return _read_npz(self.path, self.use.options, self.use.task)

    def column(self, name: str, where: str) -> npt.NDArray[Any]:
        """See `Source.column`."""
        return read_array(self.path, name, where)

    def fingerprint(self) -> str:
        """See `Source.fingerprint`."""
        return content_sha256(self.path)


class Torchvision(Source):
    """A data set of torchvision."""

    spec: ClassVar[SourceSpec] = SourceSpec(
        "torchvision", "a data set of torchvision", "torchvision:<DataSet>", takes_name=True, needs_path=True
    )

    def read(self) -> Raw:
        """See `Source.read`."""
        return _read_torchvision(self.name, self.path, self.use.options)

    def fingerprint(self) -> str | None:
        """See `Source.fingerprint`. A data set that will be downloaded is not there to be hashed."""
        return None if self.use.options.get("download") else content_sha256(self.path)


class Function(Source):
    """The user's own `module:function`, called with data.options; see `edgeaudit.population.functions`."""

    spec: ClassVar[SourceSpec] = SourceSpec("function", "a function of your own", "module:function")

    def read(self) -> Raw:
        """See `Source.read`."""
        return _read_function(self.name, self.use.options, self.use.task)


def _read_npz(file: Path, keys: Mapping[str, object], task: str) -> Raw:
    x_key, y_key = str(keys.get("x", "x")), str(keys.get("y", "y"))
    hint = "Name the arrays in data.options: {x: ..., y: ...}"
    if task == "reconstruction" and "y" not in keys:
        return _unlabelled(_arrays(file, (x_key,), "data.path", hint)[x_key])
    found = _arrays(file, (x_key, y_key), "data.path", hint)
    return Raw(found[x_key], found[y_key])


def _unlabelled(x: npt.NDArray[Any]) -> Raw:
    return Raw(x, np.zeros(len(x), np.int64))


def read_array(file: Path, name: str, where: str) -> npt.NDArray[Any]:
    """One array of an .npz. where: the key of audit.yaml that names it."""
    return _arrays(file, (name,), where, "Name one of them, or a file (.txt, .npy)")[name]


def _arrays(file: Path, wanted: tuple[str, ...], where: str, hint: str) -> dict[str, npt.NDArray[Any]]:
    try:
        # Opened here, because numpy 2.4 leaves a file it opened itself open when it is not a zip file.
        with file.open("rb") as handle:
            _require_archive(handle, f"{where}: {file}")
            handle.seek(0)
            with ZipFile(handle) as archive:
                for key in wanted:
                    _require_bounded(archive, key, f"{where}: the array '{key}' of {file}")
            handle.seek(0)
            with np.load(handle, allow_pickle=False) as arrays:
                found = {key: arrays[key] for key in wanted if key in arrays.files}
                names = ", ".join(arrays.files)
    except (EdgeAuditError, MemoryError):
        raise
    except OSError as exc:
        raise DataError(f"{where}: {file} cannot be read as .npz: {reason_of(exc)}") from exc
    # A damaged archive or header ends zipfile and numpy 2.4 in any way: KeyError, RuntimeError (encrypted),
    # struct.error, tokenize.TokenError. What they say may quote the file, which holds private records.
    except Exception as exc:
        raise DataError(
            f"{where}: {file} cannot be read as .npz ({unquoted(exc)}); it is damaged: write it with numpy.savez"
        ) from exc
    for key in wanted:
        if key not in found:
            raise DataError(f"{where}: {file} has no array '{key}'; it has: {names}. {hint}")
    return found


def _require_archive(handle: BinaryIO, what: str) -> None:
    if not is_zipfile(handle):
        raise DataError(f"{what} is not a complete .npz file; write it with numpy.savez")


def _require_bounded(archive: ZipFile, key: str, what: str) -> None:
    """Raise `DataError` for an array that asks for more memory than the machine has, or than its file holds.

    A few bytes of a compressed file, or of a header, may ask for any amount.
    """
    name = f"{key}.npy"
    if name not in archive.namelist():
        return
    with archive.open(name) as entry:
        version = np.lib.format.read_magic(entry)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(entry)
    if dtype.hasobject:
        raise DataError(f"{what} holds Python objects; write texts as dtype str, as numpy.array(labels, dtype=str)")
    size = array_bytes(shape, dtype.itemsize)
    require_memory(size, what)
    if size > archive.getinfo(name).file_size:
        raise DataError(f"{what} has shape {shape}, but not as many values; the file was cut short, or is damaged")


def _read_torchvision(name: str, root: Path, keys: Mapping[str, object]) -> Raw:
    try:
        from torchvision import datasets
    except ImportError:
        raise MissingToolchain(f"data.source '{name}'", "torchvision", "torch") from None

    asked = name.partition(":")[2]
    factory = getattr(datasets, asked, None)
    if asked not in datasets.__all__ or factory is None:
        near = difflib.get_close_matches(asked, datasets.__all__, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; it has: {', '.join(datasets.__all__)}"
        raise DataError(f"data.source: torchvision has no data set '{asked}'{hint}")
    # Not every data set can be downloaded, and those that cannot have no such argument.
    own = {"download": False} if "download" in inspect.signature(factory).parameters else {}
    try:
        data = factory(root=str(root), **{**own, **keys})
    except (RuntimeError, OSError, TypeError, ValueError) as exc:
        hint = ". To let torchvision fetch it: data.options: {download: true}" if own and "download" not in keys else ""
        raise DataError(f"data.source: {name} cannot be read from {root}: {exc}{hint}") from exc
    images, labels = zip(*((np.asarray(image), label) for image, label in data), strict=True)
    shapes = sorted({image.shape for image in images})
    if len(shapes) != 1:
        raise DataError(
            f"data.source: {name} has images of {len(shapes)} sizes, {shapes[0]} to {shapes[-1]}; read them with a "
            "function of your own, or from a folder (data.source: folder, data.options: {size: 32})"
        )
    return Raw(np.stack(images), as_array(labels, name), tuple(getattr(data, "classes", ())))


def _read_function(name: str, keys: Mapping[str, object], task: str) -> Raw:
    function, where = import_function(name), f"data.source: {name}"
    try:
        inspect.signature(function).bind(**keys)
    except ValueError:  # built in, without a signature
        pass
    except TypeError as exc:
        raise DataError(f"{where}: data.options does not fit its arguments: {exc}") from exc
    result = function(**keys)
    if task == "reconstruction" and isinstance(result, np.ndarray):
        return _unlabelled(result)
    return raw_of_result(result, where)
