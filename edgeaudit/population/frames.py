"""CSV and Parquet files: one record a row, one column with the label."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from edgeaudit.errors import DataError, MissingToolchain, did_you_mean
from edgeaudit.population.raw import Raw
from edgeaudit.population.sources import Source, SourceSpec, content_sha256
from edgeaudit.population.tables import MISSING, table_of_frame, without

__all__ = ["Csv", "Parquet"]

_OPTIONS = ("label", "drop", "categories", "missing")


class _Frame(Source):
    """A table.

    data.options: `label`, the column with the label; `drop`, columns to leave out; `categories`, columns of numbers
    that are categories; `missing`, what stands for missing numbers, `refuse` or `median`.
    """

    @property
    def name(self) -> str:
        """See `Source.name`."""
        return f"{self.spec.name}:{self.path.name}"

    def fingerprint(self) -> str:
        """See `Source.fingerprint`."""
        return content_sha256(self.path)

    def read(self) -> Raw:
        """See `Source.read`. `data.groups` and `data.slices` can name every column, also one that is left out."""
        options = self.use.options
        missing = options.get("missing", "refuse")
        if missing not in MISSING:
            raise DataError(f"data.options: missing is {missing!r}; it is one of {', '.join(MISSING)}")
        frame = self._frame()
        if len(frame) == 0:
            raise DataError(f"{self.use.where}: {self.path} has no rows")
        frame.columns = [str(name) for name in frame.columns]
        label = options.get("label")
        known = ", ".join(frame.columns)
        if label is None:
            raise DataError(
                f"data.options: name the column of {self.path.name} with the label, as in {{label: "
                f"{frame.columns[-1]}}}; there are {known}"
            )
        if str(label) not in frame.columns:
            raise DataError(
                f"data.options: {self.path.name} has no column '{label}'.{did_you_mean(str(label), frame.columns)} "
                f"There are {known}"
            )
        y = frame[str(label)]
        rest = without(frame, [str(label)], "data.options.label")
        rest = without(rest, _names(options.get("drop"), "drop"), "data.options.drop")
        table = table_of_frame(rest, missing=str(missing), categories=_names(options.get("categories"), "categories"))
        left_out = {name: _values(frame[name]) for name in frame.columns if name not in table.columns}
        return Raw(table, _values(y), columns=left_out)

    @abstractmethod
    def _frame(self) -> Any:
        """The file as a pandas.DataFrame."""


class Csv(_Frame):
    """A CSV file with a line of names. `separator` is found out where it is not given."""

    spec: ClassVar[SourceSpec] = SourceSpec(
        "csv", "a CSV file, one column with the label", needs_path=True, options=(*_OPTIONS, "separator")
    )

    def _frame(self) -> Any:
        pandas = _pandas("csv")
        separator = self.use.options.get("separator")
        try:
            # Without a separator pandas' Python engine sniffs it; with one the C engine reads much faster.
            return pandas.read_csv(self.path, sep=str(separator) if separator else _sniffed(self.path), index_col=False)
        except (OSError, ValueError) as exc:
            raise DataError(f"{self.use.where}: {self.path} cannot be read as CSV: {exc}") from exc


class Parquet(_Frame):
    """A Parquet file."""

    spec: ClassVar[SourceSpec] = SourceSpec(
        "parquet", "a Parquet file, one column with the label", needs_path=True, options=_OPTIONS
    )

    def _frame(self) -> Any:
        pandas = _pandas("parquet")
        try:
            import pyarrow as pa  # noqa: F401  pandas' own message names no extra
        except ImportError:
            raise MissingToolchain("data.source 'parquet'", "pyarrow", "tables") from None
        try:
            return pandas.read_parquet(self.path, engine="pyarrow")
        except (OSError, ValueError) as exc:  # pyarrow's errors are ValueErrors
            raise DataError(f"{self.use.where}: {self.path} cannot be read as Parquet: {exc}") from exc


def _pandas(source: str) -> Any:
    try:
        import pandas as pd
    except ImportError:
        raise MissingToolchain(f"data.source '{source}'", "pandas", "tables") from None
    return pd


def _sniffed(path: Any) -> str:
    """The separator of a CSV file: the one of `,;TAB|` that its line of names has most often."""
    with path.open(encoding="utf-8", errors="replace") as handle:
        head = handle.readline()
    return max(",;\t|", key=head.count)


def _names(value: object, key: str) -> list[str]:
    if value is None:
        return []
    entries = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(entry, str | int) for entry in entries):
        raise DataError(f"data.options: {key} is {value!r}; it must be a column's name, or a list of names")
    return [str(entry) for entry in entries]


def _values(column: Any) -> Any:
    """A column as labels and groups are: integers, floats, or texts as objects with None for missing."""
    values = np.asarray(column.to_numpy())
    if values.dtype.kind in "iufb":
        return values
    return np.asarray(column.astype(object).where(column.notna(), None).to_numpy())
