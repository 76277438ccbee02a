"""Canaries: a sentence, and a table for each attack."""

from __future__ import annotations

from edgeaudit.report.lookup import AUC, TPR, Lookup, Place, series_label
from edgeaudit.report.model import CanaryResult, CanaryTest, LeakageRow
from edgeaudit.report.tables import EMPTY, Cell, Head, Notes, Table, figure_cell, labelled
from edgeaudit.report.words import about, chance, figure, metric_name, percent, shown

__all__ = ["canary_sentences", "canary_tables"]

_METRICS = (AUC, "tpr@fpr=0.05", TPR, "epsilon_lower", "epsilon_one_run", "mu_one_run")


class _Canaries:
    """An audit's figures on canaries. told: by deployment, in the order of the report. rows: by series and metric."""

    def __init__(self, lookup: Lookup) -> None:
        told = {Place(one.format, one.device): one for one in lookup.audit.canaries}
        self.told = {place: told[place] for place in lookup.places if place in told}
        self.rows: dict[tuple[Place, str, str], LeakageRow] = {}
        for row in lookup.audit.leakage:
            if row.of_canaries:
                self.rows[Place(row.format, row.device), f"{row.attack}/{row.variant}", row.metric] = row


def canary_sentences(lookup: Lookup) -> list[str]:
    """One sentence: how well planted canaries are found in the format where they are found best."""
    found = _Canaries(lookup)
    areas = {
        (place, name): row
        for (place, name, metric), row in found.rows.items()
        if metric == AUC and row.value is not None and place in found.told
    }
    if not areas:
        return []
    place, name = max(areas, key=lambda key: areas[key].value or 0.0)
    told, tpr = found.told[place], found.rows.get((place, name, TPR))
    where = "" if len(lookup.ok()) == 1 else f" in {lookup.label(place)}"
    strict = "" if tpr is None or tpr.value is None else f" and {metric_name(TPR)} {shown(tpr)}"
    sentence = (
        f"{_planted(told)}: {series_label(name)} tells them from {told.held_out:,} held-out ones{where} with AUC "
        f"{shown(areas[place, name])}{strict}{_top(told, name)}. The target gives {about(told.planted_learned)} of the "
        f"planted ones their label, and {about(told.held_out_learned)} of the others."
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


def canary_tables(lookup: Lookup) -> list[Table]:
    """A table for each attack, that with the largest AUC first: each format's figures on canaries."""
    found = _Canaries(lookup)
    strength: dict[str, float] = {}
    for (_, name, metric), row in found.rows.items():
        if metric == AUC:
            strength[name] = max(strength.get(name, -1.0), -1.0 if row.value is None else row.value)
    return [_table(lookup, found, name) for name in sorted(strength, key=lambda name: -strength[name])]


def _table(lookup: Lookup, found: _Canaries, name: str) -> Table:
    notes = Notes()
    rows = [labelled(lookup, place, _cells(found, place, name, notes)) for place in found.told]
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


def _cells(found: _Canaries, place: Place, name: str, notes: Notes) -> list[Cell]:
    told = found.told[place]
    test = _test(told, name)
    figures = [_cell(found.rows.get((place, name, metric)), notes) for metric in _METRICS]
    top = EMPTY if test is None else Cell(f"{test.above_all:,}", chance(test.adjusted_p))
    planted = Cell(f"{told.planted:,}", percent(told.planted_learned))
    held_out = Cell(f"{told.held_out:,}", percent(told.held_out_learned))
    return [*figures[:3], top, *figures[3:], planted, held_out]


def _cell(row: LeakageRow | None, notes: Notes) -> Cell:
    if row is None or row.value is None or not row.metric.startswith(("epsilon", "mu_")):
        return figure_cell(row, notes)
    number = notes.number(row.note) if row.note else None
    return Cell(f">= {figure(row.metric, row.value)}", note=number, why=row.note or "")
