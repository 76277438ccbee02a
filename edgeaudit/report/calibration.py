"""Leakage of the quantiser's calibration records, and the facts read from adopted (foreign) files."""

from __future__ import annotations

from edgeaudit.report.lookup import AUC, TPR, Lookup, Place
from edgeaudit.report.model import CalibrationLeak
from edgeaudit.report.tables import EMPTY, Cell, Head, Notes, Row, Table, figure_cell
from edgeaudit.report.words import chance, counted, figure, interval

__all__ = ["calibration_leak_table", "found_table"]

UNCALIBRATED = "uncalibrated"


def calibration_leak_table(lookup: Lookup) -> Table | None:
    """Leakage of calibration records under the headline attack, and the figures without these records."""
    headline = lookup.headline
    if headline is None:
        return None
    leaks = [
        row
        for row in lookup.audit.calibration
        if (row.attack, row.variant, row.shadow_match) == (headline.attack, headline.variant, headline.shadow_match)
    ]
    notes = Notes()
    rows = tuple(_row(lookup, row, notes) for row in leaks)
    heads = (
        Head("Format", align="text"),
        Head("Calibration records", align="text"),
        Head("AUC against other records"),
        Head("p"),
        Head("AUC of members", "all records"),
        Head("AUC of members", "without calibration records"),
        Head("TPR at 1% FPR", "without calibration records"),
    )
    caption = f"Calibration records under {headline.label}"
    return Table(caption, heads, rows, tuple(notes.texts), classes="calibration") if rows else None


def _row(lookup: Lookup, row: CalibrationLeak, notes: Notes) -> Row:
    place, headline = Place(row.format, row.device), lookup.headline
    without = None if headline is None else headline._replace(subset=UNCALIBRATED)
    return Row(
        Cell(lookup.label(place), code=True),
        (
            Cell(f"{row.n_seen:,} {row.side}", f"of {counted(row.n_seen + row.n_others, 'record')}"),
            Cell(figure(AUC, row.value), interval(AUC, row.low, row.high)),
            EMPTY if row.p_value is None else Cell(chance(row.p_value)),
            figure_cell(lookup.row(place, headline, AUC), notes),
            figure_cell(lookup.row(place, without, AUC), notes),
            figure_cell(lookup.row(place, without, TPR), notes),
        ),
    )


def found_table(lookup: Lookup) -> Table | None:
    """Facts read from a user's file or checkpoint or inferred from its answers, and what passes say of models."""
    rows = tuple(
        Row(Cell(lookup.label(place), code=True), (Cell(sentence),))
        for place, result in lookup.ok()
        if result.artifact is not None
        for sentence in result.artifact.found
    )
    heads = (
        Head("Format", align="text"),
        Head("Read from the file, inferred from its answers, or done to it", align="text"),
    )
    return Table("Found in files and models", heads, rows, classes="origin") if rows else None
