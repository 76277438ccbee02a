"""The report's tables as values: this module decides the content of cells, the template their look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeaudit.report.lookup import AUC, Lookup, Place
from edgeaudit.report.model import LeakageRow
from edgeaudit.report.words import NOT_RESOLVABLE, figure, figure_and_interval, interval

__all__ = ["EMPTY", "Axis", "Cell", "Head", "Mark", "Notes", "Row", "Table", "figure_cell", "heat", "labelled"]


@dataclass(frozen=True)
class Mark:
    """A dot and whisker on a strip 100 wide: interval, value and the position of AUC 0.5."""

    low: float
    value: float
    high: float
    none: float


@dataclass(frozen=True)
class Cell:
    """text, and `detail` smaller below it. note: number of a footnote, `why` its text. heat: 0 to 10.

    sort: what a sortable table orders the cell by, in any unit; None for a cell without a value.
    """

    text: str
    detail: str = ""
    tone: str = ""
    note: int | None = None
    why: str = ""
    heat: int | None = None
    mark: Mark | None = None
    code: bool = False
    sort: float | None = None


EMPTY = Cell("-", tone="muted")


@dataclass(frozen=True)
class Head:
    """A column's head, or one over several columns. `detail` is smaller below it."""

    text: str
    detail: str = ""
    span: int = 1
    align: str = "num"


@dataclass(frozen=True)
class Row:
    """A row's head and cells; `across` is one text over all of them, where a format failed."""

    head: Cell
    cells: tuple[Cell, ...] = ()
    across: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its caption and footnotes."""

    caption: str
    heads: tuple[Head, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    groups: tuple[Head, ...] = ()
    classes: str = ""

    @property
    def sortable(self) -> bool:
        """Whether the page lets readers sort and filter the rows."""
        return "sortable" in self.classes.split()

    @property
    def width(self) -> int:
        """Columns beside the row's head."""
        return sum(head.span for head in self.heads) - 1


@dataclass
class Notes:
    """Collects footnotes; the same text gets the same number."""

    texts: list[str] = field(default_factory=list)

    def number(self, text: str) -> int:
        """The footnote's number, from 1."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def heat(metric: str, value: float) -> int | None:
    """Return the strength of a cell's tint, 0 to 10, on one scale for all tables; None for metrics without one."""
    if metric == "auc":
        return round(10 * min(max((value - 0.5) / 0.45, 0), 1))
    if metric.startswith("tpr@"):
        return round(10 * math.sqrt(min(max(value, 0), 1)))
    return None


def figure_cell(row: LeakageRow | None, notes: Notes, *, tint: bool = False, limits: Sequence[float] = ()) -> Cell:
    """A figure with its interval below; `not resolvable` with a footnote where it has no value.

    limits: from which it has to be told apart.
    """
    if row is None:
        return EMPTY
    number = notes.number(row.note) if row.note else None
    if row.value is None:
        return Cell(NOT_RESOLVABLE, tone="muted", note=number, why=row.note or "")
    value, ends = figure_and_interval(row.metric, row.value, row.low, row.high, limits)
    return Cell(
        value,
        ends,
        note=number,
        why=row.note or "",
        heat=heat(row.metric, row.value) if tint else None,
        sort=row.value,
    )


def labelled(lookup: Lookup, place: Place, cells: Sequence[Cell]) -> Row:
    """A format's row."""
    return Row(Cell(lookup.label(place), code=True), tuple(cells))


class Axis:
    """The common scale of the strips in the AUC column; 0.5 is always on it."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    @classmethod
    def of(cls, rows: list[LeakageRow]) -> Axis:
        """Return a scale that covers all these AUCs and their intervals."""
        ends = [x for row in rows for x in (row.low, row.value, row.high) if x is not None]
        low, high = min([0.5, *ends]), max([0.55, *ends])
        return cls(max(0.0, math.floor(low * 20) / 20), min(1.0, math.ceil(high * 20) / 20))

    def at(self, value: float) -> float:
        """Return the position of an AUC on a strip 100 wide."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def mark(self, row: LeakageRow | None) -> Cell:
        """A row's AUC on its strip; nothing where it has none."""
        if row is None or row.value is None:
            return Cell("")
        low = row.value if row.low is None else row.low
        high = row.value if row.high is None else row.high
        spoken = f"AUC {figure(AUC, row.value)} {interval(AUC, row.low, row.high)}".rstrip()
        return Cell(spoken, mark=Mark(self.at(low), self.at(row.value), self.at(high), self.at(0.5)))
