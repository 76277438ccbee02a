"""Records and labels as a source gives them: an array or a table, before layout, scaling and numbering of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import DataError

__all__ = ["Raw", "Table", "joined_records"]

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True)
class Table:
    """Columns of different kinds. columns: name -> values [n]; numbers, truth values, or texts (dtype object).

    Missing are NaN among numbers and None among texts. missing: what stands for a missing number, `refuse` or `median`.
    """

    columns: Mapping[str, AnyArray]
    missing: str = "refuse"

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0


@dataclass(frozen=True)
class Raw:
    """What a source reads.

    x: [n, ...] of any numeric dtype, or a table. y: labels [n], [n, 1] or one-hot [n, K], of any usual kind
    (`edgeaudit.population.labels`). classes: names of the labels 0, 1, ..., if the source has them. names: of the
    records, such as file names; () if they have none. columns: further values of each record, [n]. notes: what was left
    out or changed while reading.
    """

    x: AnyArray | Table
    y: AnyArray
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    columns: Mapping[str, AnyArray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def joined_records(sides: Mapping[str, AnyArray | Table]) -> AnyArray | Table:
    """The records of all sides, one after the other. sides: name -> records.

    Raises:
        DataError: shapes or columns differ; the message names the sides.
    """
    (first, one), *others = sides.items()
    for key, other in others:
        if isinstance(one, Table) != isinstance(other, Table) or _form(one) != _form(other):
            raise DataError(
                f"data.{key}: its records have {_words(other)}, but those of {first} {_words(one)}; all sides need one "
                f"{'set of columns' if isinstance(one, Table) else 'shape'}"
            )
    if isinstance(one, Table):
        tables = [side for side in sides.values() if isinstance(side, Table)]
        names = one.columns
        return Table({name: _concatenated([table.columns[name] for table in tables]) for name in names}, one.missing)
    return np.concatenate([side for side in sides.values() if not isinstance(side, Table)])


def _concatenated(parts: Sequence[AnyArray]) -> AnyArray:
    if len({part.dtype == object for part in parts}) > 1:  # texts in one file, numbers in another: all are texts
        parts = [_as_texts(part) for part in parts]
    return np.concatenate(parts)


def _as_texts(values: AnyArray) -> AnyArray:
    return np.array([None if _is_nan(value) else str(value) for value in values.tolist()], object)


def _is_nan(value: object) -> bool:
    return value is None or (isinstance(value, float) and value != value)  # noqa: PLR0124


def _form(x: AnyArray | Table) -> tuple[object, ...]:
    return tuple(sorted(x.columns)) if isinstance(x, Table) else x.shape[1:]


def _words(x: AnyArray | Table) -> str:
    return f"columns {', '.join(x.columns)}" if isinstance(x, Table) else f"shape {x.shape[1:]}"
