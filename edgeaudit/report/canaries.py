"""Canaries: a sentence, and a table for each attack."""

from __future__ import annotations

from edgeaudit.report.lookup import AUC, TPR, Lookup, Place, series_label, unique
from edgeaudit.report.model import CanaryResult, CanaryTest, LeakageRow
from edgeaudit.report.tables import EMPTY, Cell, Head, Notes, Row, Table, figure_cell
from edgeaudit.report.words import about, chance, figure, metric_name, percent, shown

__all__ = ["canary_sentences", "canary_tables"]

_METRICS = (AUC, "tpr@fpr=0.05", TPR, "epsilon_lower", "epsilon_one_run")


def canary_sentences(lookup: Lookup) -> list[str]:
    """One sentence: how well planted canaries are found in the format where they are found best."""
    found = [
        (place, row)
        for place in lookup.places
        for row in _rows(lookup, place, AUC)
        if row.value is not None and _first(lookup, place) is not None
    ]
    if not found:
        return []
    place, best = max(found, key=lambda item: item[1].value or 0.0)
    told = _first(lookup, place)
    if told is None:
        return []
    name = f"{best.attack}/{best.variant}"
    tpr = next((row for row in _rows(lookup, place, TPR) if f"{row.attack}/{row.variant}" == name), None)
    where = "" if len(lookup.ok()) == 1 else f" in {lookup.label(place)}"
    strict = "" if tpr is None or tpr.value is None else f" and {metric_name(TPR)} {shown(tpr)}"
    sentence = (
        f"{_planted(told)}: {series_label(name)} tells them from {told.held_out:,} held-out ones{where} with AUC "
        f"{shown(best)}{strict}{_top(told, name)}. The target gives {about(told.planted_learned)} of the planted ones "
        f"their label, and {about(told.held_out_learned)} of the others."
    )
    return [sentence]


def _planted(told: CanaryResult) -> str:
    times = "" if told.repeats == 1 else f", {told.repeats} times each"
    return f"{told.planted:,} {told.kind} canaries were planted{times}"


def _test(told: CanaryResult, name: str) -> CanaryTest | None:
    return next((one for one in told.tests if f"{one.attack}/{one.variant}" == name), None)


def _top(told: CanaryResult, name: str) -> str:
    test = _test(told, name)
    if test is None:
        return ""
    p = chance(test.adjusted_p)
    return f"; {test.above_all:,} score above every held-out one (adjusted p of both tests {p})"


def _first(lookup: Lookup, place: Place) -> CanaryResult | None:
    return next((row for row in lookup.audit.canaries if Place(row.format, row.device) == place), None)


def _rows(lookup: Lookup, place: Place, metric: str) -> list[LeakageRow]:
    rows = (row for row in lookup.audit.leakage if row.of_canaries and row.metric == metric)
    return [row for row in rows if Place(row.format, row.device) == place]


def canary_tables(lookup: Lookup) -> list[Table]:
    """A table for each attack, that with the largest AUC first: each format's figures on canaries."""
    rows = [row for row in lookup.audit.leakage if row.of_canaries and row.metric == AUC]
    strength: dict[str, float] = {}
    for row in rows:
        name = f"{row.attack}/{row.variant}"
        strength[name] = max(strength.get(name, -1.0), -1.0 if row.value is None else row.value)
    names = unique(f"{row.attack}/{row.variant}" for row in rows)
    return [_table(lookup, name) for name in sorted(names, key=lambda name: -strength[name])]


def _table(lookup: Lookup, name: str) -> Table:
    notes = Notes()
    rows = [_row(lookup, place, name, notes) for place in lookup.places if _first(lookup, place) is not None]
    heads = (
        Head("Format", align="text"),
        *(Head(metric_name(metric)) for metric in _METRICS[:3]),
        Head("Above all held out", "p, both tests"),
        *(Head(metric_name(metric)) for metric in _METRICS[3:]),
        Head("Planted", "own label"),
        Head("Held out", "own label"),
    )
    caption = f"Planted against held-out canaries under {series_label(name)}, 95% intervals and bounds"
    return Table(caption, heads, tuple(rows), tuple(notes.texts))


def _row(lookup: Lookup, place: Place, name: str, notes: Notes) -> Row:
    told = _first(lookup, place)
    cells = []
    for metric in _METRICS:
        rows = _rows(lookup, place, metric)
        row = next((row for row in rows if f"{row.attack}/{row.variant}" == name), None)
        cells.append(_cell(row, notes))
    learned = (EMPTY, EMPTY)
    if told is not None:
        learned = (
            Cell(f"{told.planted:,}", percent(told.planted_learned)),
            Cell(f"{told.held_out:,}", percent(told.held_out_learned)),
        )
    test = None if told is None else _test(told, name)
    top = EMPTY if test is None else Cell(f"{test.above_all:,}", chance(test.adjusted_p))
    return Row(Cell(lookup.label(place), code=True), (*cells[:3], top, *cells[3:], *learned))


def _cell(row: LeakageRow | None, notes: Notes) -> Cell:
    if row is None or row.value is None or not row.metric.startswith("epsilon"):
        return figure_cell(row, notes)
    number = notes.number(row.note) if row.note else None
    return Cell(f">= {figure(row.metric, row.value)}", note=number, why=row.note or "")
