"""Multi-version attacks, in tables and sentences: the attacker's gain from holding several formats of one model."""

from __future__ import annotations

from collections.abc import Sequence

from edgeaudit.report.lookup import AUC, TPR, Lookup, series_label, unique
from edgeaudit.report.model import Audit, TogetherRow
from edgeaudit.report.tables import EMPTY, Cell, Head, Notes, Row, Table
from edgeaudit.report.words import (
    NOT_RESOLVABLE,
    chance,
    counted,
    difference,
    difference_interval,
    figure,
    interval,
    listed,
    metric_name,
    printable,
)

__all__ = ["together_sentences", "together_tables"]

_LEVEL = 0.05
_MANY = 4
"""Formats of a set that are named in a sentence; a larger set is counted."""


def together_sentences(audit: Audit) -> tuple[str, ...]:
    """Return a sentence a set: the AUC gain of the strongest combination, or why it was not run."""
    sentences = []
    for formats in unique(row.formats for row in audit.together):
        rows = [row for row in audit.together if row.formats == formats and row.metric == AUC]
        tested = [row for row in rows if row.value is not None and row.difference is not None]
        name = _names(formats)
        if tested:
            sentences.append(_sentence(name, _strongest(tested)))
        else:
            why = listed(unique(printable(row.note) for row in rows if row.note)) or "no attack could be run"
            sentences.append(f"The multi-version attack on {name} was not run: {why}.")
    return tuple(sentences)


def _strongest(rows: Sequence[TogetherRow]) -> TogetherRow:
    """Return the row with the largest figure, against the headline where it was run; Holm covers this choice."""
    first = [row for row in rows if row.yardstick == rows[0].yardstick]
    return max(first, key=lambda row: row.value or 0.0)


def _sentence(name: str, row: TogetherRow) -> str:
    gained = _adds(row)
    value, best = row.value or 0.0, next((s.value for s in row.singles if s.format == row.best), None)
    size = f"{difference(row.metric, row.difference or 0.0)} {_gap(row)}".rstrip()
    p = "" if row.adjusted_p is None else f", adjusted p {_p(row.adjusted_p)}"
    verdict = "leaks more than" if gained else "does not leak significantly more than"
    single = "" if best is None else f", against {figure(row.metric, best)} of {printable(row.best or '')} alone"
    return (
        f"Holding {name} together {verdict} the best of them alone under {series_label(row.yardstick)}: the strongest "
        f"multi-version attack ({row.method}) reaches AUC {figure(row.metric, value)} "
        f"{interval(row.metric, row.low, row.high)}{single}, a difference of {size}{p}."
    )


def _adds(row: TogetherRow) -> bool:
    return row.adjusted_p is not None and row.adjusted_p <= _LEVEL and (row.difference or 0.0) > 0


def _p(value: float) -> str:
    text = chance(value)
    return text if text.startswith("<") else f"= {text}"


def _gap(row: TogetherRow) -> str:
    return difference_interval(row.metric, row.difference_low, row.difference_high)


def _names(formats: Sequence[str]) -> str:
    shown = [printable(name) for name in formats]
    return listed(shown) if len(shown) <= _MANY else f"{counted(len(shown), 'format')} ({', '.join(shown)})"


def together_tables(lookup: Lookup) -> list[tuple[Table, Table | None]]:
    """Return tables a set: every multi-version attack against the best single format, and against each format."""
    tables = []
    for formats in unique(row.formats for row in lookup.audit.together):
        rows = [row for row in lookup.audit.together if row.formats == formats]
        tables.append((_overview(formats, rows), _singles(rows)))
    return tables


def _overview(formats: Sequence[str], rows: Sequence[TogetherRow]) -> Table:
    notes = Notes()
    places = unique((row.method, row.yardstick) for row in rows)
    metrics = [m for m in (AUC, TPR) if any(row.metric == m for row in rows)]
    made = []
    for method, baseline in places:
        by_metric = {row.metric: row for row in rows if (row.method, row.yardstick) == (method, baseline)}
        if baseline == "-":
            why = next(iter(by_metric.values())).note or ""
            head = Cell("all of them" if method == "-" else method, code=method != "-")
            none = Cell("not run", tone="muted", note=notes.number(why), why=why)
            made.append(Row(head, (none, *[EMPTY] * (4 * len(metrics)))))
            continue
        cells = [Cell(series_label(baseline))]
        for metric in metrics:
            cells += _figures(by_metric.get(metric), notes)
        made.append(Row(Cell(method, code=True), tuple(cells)))
    heads = [Head("Attack", align="text"), Head("baseline", align="text")]
    for _ in metrics:
        heads += [Head("combined"), Head("best single"), Head("difference"), Head("adjusted p")]
    groups = (Head("", align="text"), Head(""), *(Head(metric_name(m), span=4, align="group") for m in metrics))
    return Table(" + ".join(formats), tuple(heads), tuple(made), tuple(notes.texts), groups)


def _figures(row: TogetherRow | None, notes: Notes) -> list[Cell]:
    if row is None:
        return [EMPTY] * 4
    number = notes.number(row.note) if row.note else None
    why = row.note or ""
    together = (
        Cell(NOT_RESOLVABLE, tone="muted", note=number, why=why)
        if row.value is None
        else Cell(figure(row.metric, row.value), interval(row.metric, row.low, row.high), note=number, why=why)
    )
    best = next((single for single in row.singles if single.format == row.best), None)
    alone = EMPTY if best is None or best.value is None else Cell(figure(row.metric, best.value), best.format)
    gap = EMPTY
    if row.difference is not None:
        gap = Cell(difference(row.metric, row.difference), _gap(row), "bad" if _adds(row) else "")
    return [together, alone, gap, EMPTY if row.adjusted_p is None else Cell(chance(row.adjusted_p))]


def _singles(rows: Sequence[TogetherRow]) -> Table | None:
    """Return the table of the combination minus each of its formats."""
    tested = [row for row in rows if row.singles]
    if not tested:
        return None
    notes, made = Notes(), []
    formats = unique(single.format for row in tested for single in row.singles)
    for row in tested:
        by_format = {single.format: single for single in row.singles}
        cells = [Cell(series_label(row.yardstick)), Cell(metric_name(row.metric))]
        for name in formats:
            single = by_format[name]
            if single.difference is None:
                note = notes.number(single.note) if single.note else None
                cells.append(Cell(NOT_RESOLVABLE, tone="muted", note=note, why=single.note or ""))
                continue
            size = difference_interval(row.metric, single.low, single.high)
            cells.append(Cell(difference(row.metric, single.difference), size))
        made.append(Row(Cell(row.method, code=True), tuple(cells)))
    texts = ("Attack", "baseline", "figure")
    heads = (*(Head(text, align="text") for text in texts), *(Head(name) for name in formats))
    return Table("Combination minus each of its formats alone", heads, tuple(made), tuple(notes.texts))
