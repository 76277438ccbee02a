"""Output granularity: tables and a sentence on the effect of returning less of an answer."""

from __future__ import annotations

from collections.abc import Sequence

from edgeaudit.config.exposures import parse_level
from edgeaudit.report.compared import over, significant
from edgeaudit.report.lookup import AUC, TPR, Lookup, Place, series_label, unique
from edgeaudit.report.model import Comparison, LeakageRow, WeakerExposure
from edgeaudit.report.tables import EMPTY, Axis, Cell, Head, Notes, Row, Table, figure_cell, labelled
from edgeaudit.report.words import (
    NOT_RESOLVABLE,
    chance,
    counted,
    difference,
    difference_interval,
    listed,
    metric_name,
    percent,
)

__all__ = ["attack_matrix", "format_tables", "gains", "in_words", "largest_gain", "overview"]

_METRICS = (AUC, TPR)


def in_words(level: str) -> str:
    """Describe what a device returns at a level: top-3 -> the 3 largest."""
    try:
        parsed = parse_level(level)
    except ValueError:  # a report of a later edgeaudit
        return level
    if parsed.kind == "top":
        return "the largest" if parsed.amount == 1 else f"the {parsed.amount} largest"
    if parsed.kind == "rounded":
        return counted(parsed.amount, "decimal")
    return "nothing else" if parsed.kind == "label" else "and no logits"


class _Measured:
    """The figures of an audit's coarser output granularities, by format."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        audit = lookup.audit
        self.exposures: dict[Place, list[WeakerExposure]] = {}
        for one in audit.weaker_exposures:
            self.exposures.setdefault(Place(one.format, one.device), []).append(one)
        self.levels = unique(one.exposure for one in audit.weaker_exposures)
        rows = (row for row in audit.comparisons if row.kind == "exposure")
        self.differences = {(Place(r.format, r.device), r.first, r.metric): r for r in rows}
        self._rows: dict[tuple[Place, str, str, str], LeakageRow] = {}
        for row in audit.weaker_leakage:
            key = (Place(row.format, row.device), row.exposure, f"{row.attack}/{row.variant}", row.metric)
            self._rows.setdefault(key, row)

    def row(self, place: Place, level: str, series: str, metric: str) -> LeakageRow | None:
        """Return one figure at a level."""
        return self._rows.get((place, level, series, metric))

    def full(self, place: Place, series: str, metric: str) -> LeakageRow | None:
        """Return the same figure at the audit's full exposure, on all records with the reported shadow-target match."""
        names = [s for s in self.lookup.series if (s.subset, f"{s.attack}/{s.variant}") == ("all", series)]
        return next((row for s in names if s.is_main and (row := self.lookup.row(place, s, metric))), None)

    def series(self, place: Place) -> list[str]:
        """Return every series with a row at some level of this format, grouped by attack."""
        names = unique(series for at, _, series, metric in self._rows if at == place and metric == AUC)
        attacks = unique(series.partition("/")[0] for series in names)
        return sorted(names, key=lambda series: attacks.index(series.partition("/")[0]))

    @property
    def own(self) -> str:
        """The audit's full exposure."""
        return str(self.lookup.audit.threat.get("exposure", "full exposure"))


def overview(lookup: Lookup) -> Table | None:
    """Return the change of the AUC by format and level; None where the audit has no levels."""
    measured = _Measured(lookup)
    rows = [row for (_, _, metric), row in measured.differences.items() if metric == AUC]
    if not rows:
        return None
    notes = Notes()
    made = []
    for place in measured.exposures:
        cells = [figure_cell(measured.full(place, lookup.headline_name, AUC), notes)]
        cells += [_difference(measured.differences.get((place, level, AUC)), notes) for level in measured.levels]
        made.append(labelled(lookup, place, cells))
    heads = (Head("Format", align="text"), Head(measured.own, "AUC"), *(Head(level) for level in measured.levels))
    caption = f"AUC at coarser output granularity minus that at {measured.own}, by {_label(lookup)}, {over(rows)}"
    return Table(caption, heads, tuple(made), tuple(notes.texts), classes="matrix")


def format_tables(lookup: Lookup) -> list[Table]:
    """Return a table a format with the leakage at each level; the format that leaks most comes first."""
    measured = _Measured(lookup)
    first = lookup.most_leaking()
    return [_format_table(measured, place) for place in sorted(measured.exposures, key=lambda place: place != first)]


def attack_matrix(lookup: Lookup) -> list[Table]:
    """Return a table a format with every attack's AUC by level, in the order of `format_tables`."""
    measured = _Measured(lookup)
    first = lookup.most_leaking()
    return [_matrix(measured, place) for place in sorted(measured.exposures, key=lambda place: place != first)]


def gains(lookup: Lookup) -> list[str]:
    """Return a sentence on the format that leaks most: the levels that lower its AUC, and by how much."""
    measured = _Measured(lookup)
    place = lookup.most_leaking()
    rows = [measured.differences.get((place, level, AUC)) for level in measured.levels] if place is not None else []
    tested = [row for row in rows if row is not None and row.value is not None]
    if place is None or not tested:
        return []
    sure = [row for row in tested if significant(row)]
    changes = [
        f"{row.first} {'lowers' if (row.value or 0.0) < 0 else 'raises'} the AUC to {row.first_value or 0.0:.3f} "
        f"({difference(AUC, row.value or 0.0)} {difference_interval(AUC, row.low, row.high)}".rstrip()
        + (f", by {series_label(row.series)})" if row.series != lookup.headline_name else ")")
        for row in sure
    ]
    rest = [row.first for row in tested if not significant(row)]
    if rest:
        changes.append(
            f"with {listed(rest)} no difference was found"
            if changes
            else f"no difference was found with {listed(rest)}"
        )
    name = lookup.label(place)
    how = f"paired {over(tested)}, Holm-adjusted"
    return [f"Returning less than all {measured.own} of {name} ({how}): {'; '.join(changes)}."]


def largest_gain(lookup: Lookup) -> tuple[Place, list[Comparison]] | None:
    """Return the format that leaks most and the levels that change its AUC (Holm-adjusted); None without levels."""
    measured = _Measured(lookup)
    place = lookup.most_leaking()
    if place is None or place not in measured.exposures:
        return None
    rows = [measured.differences.get((place, level, AUC)) for level in measured.levels]
    return place, [row for row in rows if row is not None and significant(row)]


def _label(lookup: Lookup) -> str:
    return lookup.headline.label if lookup.headline else "no attack"


def _difference(row: Comparison | None, notes: Notes) -> Cell:
    """Return a difference with its interval as the detail; grey where it is not significant."""
    if row is None:
        return EMPTY
    number = notes.number(row.note) if row.note else None
    if row.value is None:
        return Cell(NOT_RESOLVABLE, tone="muted", note=number, why=row.note or "")
    text = difference(row.metric, row.value)
    tone = "sure" if significant(row) else "muted"
    return Cell(text, difference_interval(row.metric, row.low, row.high), tone, number, row.note or "")


def _p(row: Comparison | None) -> Cell:
    return EMPTY if row is None or row.adjusted_p is None else Cell(chance(row.adjusted_p))


def _format_table(measured: _Measured, place: Place) -> Table:
    lookup, notes = measured.lookup, Notes()
    reads: dict[str, str] = {}
    for one in measured.exposures[place]:
        row = measured.differences.get((place, one.exposure, AUC))
        reads[one.exposure] = row.series if row is not None else lookup.headline_name
    aucs = [
        measured.full(place, lookup.headline_name, AUC),
        *(measured.row(place, lv, s, AUC) for lv, s in reads.items()),
    ]
    axis = Axis.of([row for row in aucs if row is not None])
    made = [_full_row(measured, place, axis, notes)]
    for one in measured.exposures[place]:
        head = Cell(one.exposure, in_words(one.exposure), code=True)
        if one.error is not None:
            made.append(Row(head, across=one.error))
            continue
        series = reads[one.exposure]
        auc, tpr = (measured.row(place, one.exposure, series, metric) for metric in _METRICS)
        changes = [measured.differences.get((place, one.exposure, metric)) for metric in _METRICS]
        cells = (
            Cell(series_label(series), tone="" if series == lookup.headline_name else "warn", code=True),
            axis.mark(auc),
            figure_cell(auc, notes), _difference(changes[0], notes), _p(changes[0]),
            figure_cell(tpr, notes), _difference(changes[1], notes), _p(changes[1]),
            *_coarse(one),
        )  # fmt: skip
        made.append(Row(head, cells))
    sides = [head for _ in _METRICS for head in (Head(""), Head("difference"), Head("adjusted p"))]
    heads = (Head("Returned", align="text"), Head("Attack", align="text"),
             Head("", f"{axis.low:.2f} to {axis.high:.2f}", align="strip"),
             *sides, Head("distinct"), Head("tie mass"))  # fmt: skip
    groups = (
        Head("", align="text"), Head(""), Head(""),
        *(Head(metric_name(metric), span=3, align="group") for metric in _METRICS),
        Head("True class", span=2, align="group"),
    )  # fmt: skip
    rows = [row for (at, _, _), row in measured.differences.items() if at == place]
    caption = f"{lookup.label(place)}: leakage by output granularity, differences from {measured.own} {over(rows)}"
    return Table(caption, heads, tuple(made), tuple(notes.texts), groups, "exposures")


def _full_row(measured: _Measured, place: Place, axis: Axis, notes: Notes) -> Row:
    lookup = measured.lookup
    auc, tpr = (measured.full(place, lookup.headline_name, metric) for metric in _METRICS)
    outputs = lookup.formats[place].outputs
    coarse = _granularity(outputs.distinct, outputs.tie_mass) if outputs is not None else (EMPTY, EMPTY)
    return Row(
        Cell(measured.own, "all of the answer", code=True),
        (
            Cell(_label(lookup), code=True), axis.mark(auc),
            figure_cell(auc, notes), Cell(""), Cell(""),
            figure_cell(tpr, notes), Cell(""), Cell(""),
            *coarse,
        ),
    )  # fmt: skip


def _coarse(one: WeakerExposure) -> Sequence[Cell]:
    return (EMPTY, EMPTY) if one.outputs is None else _granularity(one.outputs.distinct, one.outputs.tie_mass)


def _granularity(distinct: int, tie_mass: float) -> tuple[Cell, Cell]:
    return Cell(f"{distinct:,}"), Cell(percent(tie_mass))


def _matrix(measured: _Measured, place: Place) -> Table:
    notes = Notes()
    made = []
    levels = [one.exposure for one in measured.exposures[place] if one.error is None]
    for series in measured.series(place):
        cells = [figure_cell(measured.full(place, series, AUC), notes, tint=True)]
        cells += [_attack_cell(measured.row(place, level, series, AUC), notes) for level in levels]
        made.append(Row(Cell(series_label(series), code=True), tuple(cells)))
    heads = (Head("Attack", align="text"), Head(measured.own), *(Head(level) for level in levels))
    caption = f"{measured.lookup.label(place)}: AUC of every attack, by output granularity"
    return Table(caption, heads, tuple(made), tuple(notes.texts), classes="matrix")


def _attack_cell(row: LeakageRow | None, notes: Notes) -> Cell:
    """Return an AUC; a dash with a footnote where the attack cannot use answers at this level."""
    if row is not None and row.value is None and row.note:
        return Cell("-", tone="muted", note=notes.number(row.note), why=row.note)
    return figure_cell(row, notes, tint=True)
