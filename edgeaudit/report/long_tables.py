"""The long table of figures: beside audit.json as Parquet, so that audit.json holds what is judged and read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import get_args, get_type_hints

from edgeaudit.report.files import whole_file
from edgeaudit.report.model import Audit, LeakageRow, LongTable
from edgeaudit.rows import Rows

__all__ = ["FIGURES", "shortened", "write_figures"]

FIGURES = "leakage.parquet"
"""Every figure of an audit."""
_JUDGED = ("auc", "tpr@", "balanced_accuracy", "advantage")
"""Figures of a subset that budgets may limit or reports show."""


def shortened(audit: Audit) -> Audit:
    """The audit without the figures that no budget can limit and no report shows: of a subset, other than `_JUDGED`.

    Slices and canaries keep theirs.
    """
    kept = [row for row in audit.leakage if _is_read(row)]
    rows = len(audit.leakage) + len(audit.weaker_leakage)
    return audit.model_copy(
        update={
            "leakage": Rows(kept, of=LeakageRow),
            "long_tables": Rows([LongTable(file=FIGURES, rows=rows)], of=LongTable),
        }
    )


def _is_read(row: LeakageRow) -> bool:
    return row.subset == "all" or row.of_slice or row.of_canaries or row.metric.startswith(_JUDGED)


def write_figures(rows: Iterable[LeakageRow], path: Path) -> None:
    """Write figures as Parquet, a column for each field; only the owner may read the file.

    Raises `StoreError` where the file cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    hints = get_type_hints(LeakageRow)
    types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(field.name, types[_plain(hints[field.name])]) for field in fields(LeakageRow)])
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema)
    with whole_file(path) as file:
        parquet.write_table(table, file, compression="zstd")


def _plain(hint: object) -> type:
    """The type of a column: of `str | None`, `str`."""
    if isinstance(hint, type):
        return hint
    named = [one for one in get_args(hint) if one is not type(None)]
    return _plain(named[0])
