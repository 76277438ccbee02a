"""The worst class, or slice of the user's: a sentence, and a table for each attack."""

from __future__ import annotations

from edgeaudit.report.lookup import AUC, Lookup, Place, series_label, unique
from edgeaudit.report.model import WorstSlice
from edgeaudit.report.tables import EMPTY, Cell, Head, Notes, Row, Table
from edgeaudit.report.words import chance, counted, figure, interval, printable

__all__ = ["slice_sentences", "slice_tables"]

_FEW = 3
_BY_CHANCE = "the largest of several, so too large by chance; adjusted p allows for that"


def slice_sentences(lookup: Lookup) -> list[str]:
    """One sentence with the worst slice of each format, or of the worst formats where there are many."""
    if lookup.headline is None:
        return []
    rows = [(place, row) for place, row in _rows(lookup, lookup.headline_name) if row.value is not None]
    if not rows:
        return []
    ranked = sorted(rows, key=lambda item: -(item[1].value or 0.0))
    named = [_named(lookup, place, row) for place, row in ranked[:_FEW]]
    more = f" ({counted(len(ranked) - _FEW, 'further format')} below)" if len(ranked) > _FEW else ""
    above = any(row.overall is None or (row.value or 0.0) > row.overall for _, row in ranked[:_FEW])
    what = "The worst slice" if above else "No slice with enough records is above the average; the largest slice"
    return [f"{what} of the records under {lookup.headline.label}: {'; '.join(named)}{more}."]


def _named(lookup: Lookup, place: Place, row: WorstSlice) -> str:
    where = "" if len(lookup.ok()) == 1 else f" of {lookup.label(place)}"
    small = f"; {row.unresolvable:,} more have too few records" if row.unresolvable else ""
    overall = "" if row.overall is None else f", where all records have {figure(AUC, row.overall)}"
    return (
        f"{_named_slice(lookup, row)}{where}, AUC {figure(AUC, row.value or 0.0)} {interval(AUC, row.low, row.high)} "
        f"({row.n_members + row.n_nonmembers:,} records; adjusted p {_p(row)} over {counted(row.slices, 'slice')}"
        f"{small})"
        f"{overall}"
    )


def _named_slice(lookup: Lookup, row: WorstSlice) -> str:
    """The slice as budgets name it, with the data's own label of a class."""
    return printable(lookup.subset_name(str(row.subset)))


def _p(row: WorstSlice) -> str:
    return "unknown" if row.adjusted_p is None else chance(row.adjusted_p)


def slice_tables(lookup: Lookup) -> list[Table]:
    """A table for each attack, the headline's first: each format's worst slice."""
    names = unique(f"{row.attack}/{row.variant}" for row in lookup.audit.worst_slices)
    ordered = sorted(names, key=lambda name: name != lookup.headline_name)
    return [_table(lookup, name) for name in ordered]


def _table(lookup: Lookup, name: str) -> Table:
    notes = Notes()
    rows = [_row(lookup, place, row, notes) for place, row in _rows(lookup, name)]
    texts = ("Slice", "AUC", "Records", "Adjusted p", "All records", "Slices", "Too small")
    heads = (Head("Format", align="text"), *(Head(text, align="text" if text == "Slice" else "num") for text in texts))
    return Table(f"Worst slice under {series_label(name)}: {_BY_CHANCE}", heads, tuple(rows), tuple(notes.texts))


def _row(lookup: Lookup, place: Place, row: WorstSlice, notes: Notes) -> Row:
    number = notes.number(row.note) if row.note else None
    overall = EMPTY if row.overall is None else Cell(figure(AUC, row.overall))
    counts = (Cell(f"{row.slices:,}"), Cell(f"{row.unresolvable:,}"))
    head = Cell(lookup.label(place), code=True)
    if row.value is None:
        missing = Cell("not resolvable", tone="muted", note=number, why=row.note or "")
        return Row(head, (missing, EMPTY, EMPTY, EMPTY, overall, *counts))
    cells = (
        Cell(_named_slice(lookup, row), code=True, note=number, why=row.note or ""),
        Cell(figure(AUC, row.value), interval(AUC, row.low, row.high)),
        Cell(f"{row.n_members:,} + {row.n_nonmembers:,}"),
        Cell(_p(row)),
        overall,
    )
    return Row(head, (*cells, *counts))


def _rows(lookup: Lookup, name: str) -> list[tuple[Place, WorstSlice]]:
    """The worst slices of a series with the audit's own shadows, in the order of the formats."""
    found: dict[Place, WorstSlice] = {}
    for row in lookup.audit.worst_slices:
        if f"{row.attack}/{row.variant}" == name:
            found.setdefault(Place(row.format, row.device), row)
    return [(place, found[place]) for place in lookup.places if place in found]
