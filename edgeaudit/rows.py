"""A table of a result: a tuple of rows of one type, which pandas reads where it is installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, get_args

from edgeaudit.errors import MissingToolchain

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

__all__ = ["Rows", "data_frame"]

RowT = TypeVar("RowT")

_PANDAS = "pandas"  # by a variable: a stage whose code can reach this file does not depend on pandas


class Rows(tuple[RowT, ...], Generic[RowT]):  # noqa: SLOT001  a tuple can have no slots with names
    """A tuple of rows, each a pydantic model or a dataclass of the same type: `Rows(rows, of=type)`.

    The type names the columns of a table without rows.

    Examples:
        >>> from edgeaudit.leakage.metrics import Figure
        >>> rows = Rows([Figure("auc", 0.75, 0.5, 1.0, 20, 20)], of=Figure)
        >>> rows[0].metric, len(rows)
        ('auc', 1)
    """

    _of: type[Any] | None

    def __new__(cls, rows: Iterable[RowT] = (), of: type[RowT] | None = None) -> Self:
        """See the class."""
        self = super().__new__(cls, rows)
        self._of = of
        return self

    def to_frame(self) -> pd.DataFrame:
        """A pandas DataFrame with a row for each row and a column for each field.

        A field that is a model of its own gives columns with dots in their names (`accuracy.test`); where a row lacks
        it, they are missing values.

        Raises:
            MissingToolchain: pandas is not installed; carries the pip line.
        """
        records = [dict(_cells(row)) for row in self]
        columns = list(dict.fromkeys(name for record in records for name in record)) or _names(self._of)
        return data_frame(records, columns)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """As a field of a pydantic model it is what `tuple[row, ...]` is, in JSON Schema, too."""
        from pydantic_core.core_schema import no_info_after_validator_function

        row: Any = next(iter(get_args(source)), Any)
        # `tuple[row, ...]` with a row that is known at run time alone
        inner = handler.generate_schema(tuple.__class_getitem__((row, ...)))
        return no_info_after_validator_function(lambda rows: cls(rows, of=row), inner)


def data_frame(data: Any, columns: list[str] | None = None) -> pd.DataFrame:
    """`pandas.DataFrame(data, columns=columns)`. Raises `MissingToolchain` where pandas is not installed."""
    try:
        pandas = import_module(_PANDAS)
    except ImportError as exc:
        raise MissingToolchain("to_frame()", _PANDAS, "pandas") from exc
    frame: pd.DataFrame = pandas.DataFrame(data, columns=columns)
    return frame


def _names(row: Any) -> list[str]:
    """Names of the fields of a model or dataclass, be it a class or an instance."""
    if row is None:
        return []
    if is_dataclass(row):
        return [one.name for one in fields(row)]
    return list(getattr(row, "model_fields", ()))


def _cells(row: Any, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Column and value of each field; of a field that is a model, of each of its fields."""
    for name in _names(type(row)):
        value = getattr(row, name)
        if _names(type(value)):
            yield from _cells(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
