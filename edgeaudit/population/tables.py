"""Tables of numbers and texts -> one float64 array: categories become columns of 0 and 1, missing values are said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import DataError, did_you_mean
from edgeaudit.population.raw import Table

__all__ = ["MISSING", "Encoded", "encoded", "table_of_frame", "without"]

AnyArray = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]

MISSING = ("refuse", "median")
_MOST_CATEGORIES = 1000
_EXACT = 2**53
"""The largest whole number up to which float64 holds all."""
_SHOWN = 5


@dataclass(frozen=True)
class Encoded:
    """x: float64 [n, d]. names: of its columns, `city=Bern` for a category. notes: what was done, in words."""

    x: FloatArray
    names: tuple[str, ...]
    notes: tuple[str, ...]


def table_of_frame(frame: Any, *, missing: str = "refuse", categories: Sequence[str] = ()) -> Table:
    """A pandas.DataFrame as a table. categories: columns of numbers that are categories, such as codes.

    Raises:
        DataError: a column that is neither numbers nor texts, and one of two columns of one name.
    """
    names = [str(name) for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"data: two columns are called '{twice[0]}'; rename one")
    for name in categories:
        _require_column(name, names, "data.options.categories")
    return Table(
        {name: _column(frame.iloc[:, i], name, as_texts=name in categories) for i, name in enumerate(names)},
        missing,
    )


def without(frame: Any, names: Sequence[str], where: str) -> Any:
    """The frame without some columns. Raises `DataError` for a name that it does not have."""
    known = [str(name) for name in frame.columns]
    for name in names:
        _require_column(name, known, where)
    return frame.loc[:, [name not in names for name in known]]


def _require_column(name: str, known: Sequence[str], where: str) -> None:
    if name not in known:
        raise DataError(
            f"{where}: there is no column '{name}'.{did_you_mean(name, known)} There are: {', '.join(known)}"
        )


def _column(values: Any, name: str, *, as_texts: bool) -> AnyArray:
    """One column: float64 or integers, or texts as objects with None for missing."""
    kind = getattr(values.dtype, "kind", "O")
    if kind in "iub" and not as_texts and not values.isna().any():
        return np.asarray(values.to_numpy(dtype=np.uint8 if kind == "b" else None))
    if kind in "iubf" and not as_texts:  # pandas' own types of numbers have missing values, too
        return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    if kind in "mM":
        raise DataError(
            f"data: column '{name}' is of type {values.dtype}; make a number of it, such as days since a date, or "
            f"leave it out (data.options: {{drop: [{name}]}})"
        )
    missing = values.isna().to_numpy()
    entries = values.astype(object).to_numpy()
    strange = next((one for one, gone in zip(entries, missing, strict=True) if not gone and not _is_value(one)), None)
    if strange is not None:
        raise DataError(f"data: column '{name}' has values of type {type(strange).__name__}; give numbers or texts")
    return np.array([None if gone else _text(one) for one, gone in zip(entries, missing, strict=True)], object)


def _is_value(value: object) -> bool:
    return isinstance(value, str | bytes | bool | int | float | np.generic)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def encoded(table: Table) -> Encoded:
    """A table as models take it.

    Texts are categories, with a column for each in sorted order, and one for missing texts. A missing number is
    replaced by the median of its column where `missing` is `median`, and marked in a column of its own.

    Raises:
        DataError: missing numbers without a way to replace them, and texts that tell records apart.
    """
    if not table.columns:
        raise DataError("data: the table has no columns beside the label")
    _require_numbers(table)
    made: list[tuple[str, FloatArray]] = []
    texts, replaced = [], []
    for name, values in table.columns.items():
        if values.dtype == object:
            texts.append(name)
            made += _categories(name, values)
            continue
        _require_exact(name, values)
        numbers = values.astype(np.float64)
        gone = np.isnan(numbers)
        if gone.any():
            replaced.append(f"{name} ({int(gone.sum()):,})")
            numbers = np.where(gone, np.median(numbers[~gone]), numbers)
            made.append((f"{name} missing", gone.astype(np.float64)))
        made.append((name, numbers))
    notes = []
    if texts:
        columns = sum("=" in name or name.endswith(" missing") for name, _ in made)
        notes.append(f"texts became {columns} columns of 0 and 1: {_some(texts)}")
    if replaced:
        notes.append(
            f"missing numbers became the median of their column, with a column that marks them: {_some(replaced)}"
        )
    return Encoded(np.stack([values for _, values in made], axis=1), tuple(name for name, _ in made), tuple(notes))


def _require_numbers(table: Table) -> None:
    counts = {name: int(np.isnan(values).sum()) for name, values in table.columns.items() if values.dtype.kind == "f"}
    gone = {name: count for name, count in counts.items() if count}
    empty = [name for name, count in gone.items() if count == len(table)]
    if empty:
        raise DataError(f"data: column '{empty[0]}' has no value at all; {_leave_out(empty[0])}")
    if gone and table.missing != "median":
        listed = _some([f"{name} ({count:,} of {len(table):,})" for name, count in gone.items()])
        raise DataError(
            f"data: numbers are missing in {listed}. Fill them in, leave the columns out (data.options: {{drop: [...]}}"
            "), or set data.options: {missing: median}, which also adds a column that marks them"
        )


def _categories(name: str, values: AnyArray) -> Iterator[tuple[str, FloatArray]]:
    present = np.array([value is not None for value in values], np.bool_)
    kinds, numbers = np.unique(values[present].astype(np.str_), return_inverse=True)
    if len(kinds) > min(_MOST_CATEGORIES, max(2, len(values) // 2)):
        raise DataError(
            f"data: column '{name}' has {len(kinds):,} different texts in {len(values):,} records, such as "
            f"'{str(kinds[-1])[:40]}', so it has no categories; write it as numbers, or {_leave_out(name)}"
        )
    index = np.full(len(values), -1)
    index[present] = numbers
    for i, kind in enumerate(kinds.tolist()):
        yield f"{name}={kind}", (index == i).astype(np.float64)
    if not present.all():
        yield f"{name} missing", (~present).astype(np.float64)


def _require_exact(name: str, values: AnyArray) -> None:
    if values.dtype.kind in "iu" and len(values) and (values.max() > _EXACT or values.min() < -_EXACT):
        raise DataError(
            f"data: column '{name}' has integers beyond 2^53, which float64 does not hold, such as {values.max()}; if "
            f"it identifies records, {_leave_out(name)}"
        )


def _leave_out(name: str) -> str:
    return f"leave it out (data.options: {{drop: [{name}]}})"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
