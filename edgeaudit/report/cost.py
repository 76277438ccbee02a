"""Cost and quality of formats, and the Pareto-optimal ones: a table and three plots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from edgeaudit.quality.latency import BUSY
from edgeaudit.report import plots
from edgeaudit.report.lookup import Lookup, Place
from edgeaudit.report.model import FormatResult, Latency, Quality
from edgeaudit.report.pareto import Domination, Pareto, accuracy_interval
from edgeaudit.report.tables import EMPTY, Cell, Head, Notes, Row, Table
from edgeaudit.report.words import file_size, listed, milliseconds, percent

__all__ = ["Cost", "cost_view"]

_MANY = 32
_SHOWN = 2
_DISTURBED = (
    "other programs used the processor during the measurement. To measure again, remove the folder latency from the "
    "store and run the audit on an idle machine"
)
_NOT_JUDGED = "its latency is unknown, so it is not compared with other formats"
_SOME_NOT_JUDGED = "the latency of some formats is unknown, so they were not compared with this one"


@dataclass(frozen=True)
class Plot:
    """One panel: leakage against one cost."""

    title: str
    better: str
    svg: Markup


@dataclass(frozen=True)
class Cost:
    """The section: its table, panels (none where fewer than two formats have a leakage figure) and texts."""

    table: Table
    plots: tuple[Plot, ...]
    compression: str
    timed: bool
    batch: int = _MANY


def cost_view(lookup: Lookup) -> Cost | None:
    """Return the section, or None for an audit.json with neither sizes nor latencies."""
    known = [result.quality for _, result in lookup.ok() if result.quality is not None]
    if not known and not lookup.audit.latency:
        return None
    pareto = Pareto(lookup)
    numbers = {place: n for n, (place, _) in enumerate(lookup.ok(), start=1)}
    return Cost(
        _table(lookup, pareto, numbers),
        tuple(_plots(lookup, pareto, numbers)),
        known[0].compression if known else "",
        pareto.timed,
    )


def _table(lookup: Lookup, pareto: Pareto, numbers: dict[Place, int]) -> Table:
    notes = Notes()
    rows = [_row(lookup, pareto, place, result, numbers, notes) for place, result in lookup.ok()]
    timed = (Head("median"), Head("p95"), Head("median"), Head("p95"), Head("per record")) if pareto.timed else ()
    heads = (
        Head("No. and format", align="text"), Head("Test accuracy"), Head("Size", "compressed"), Head("Zero weights"),
        *timed, Head("Dominated by", align="text"),
    )  # fmt: skip
    threads = max((row.threads for row in lookup.audit.latency), default=1)
    spans = (
        (Head("Milliseconds, 1 record", span=2, align="group"), Head(f"{_MANY} records", span=3, align="group"))
        if pareto.timed
        else ()
    )
    groups = (*[Head("", align="text")] * 4, *spans, Head("", align="text")) if spans else ()
    caption = "Cost and quality of the first target's file"
    if pareto.timed:
        caption += f", {threads} thread{'' if threads == 1 else 's'}"
    return Table(caption, heads, tuple(rows), tuple(notes.texts), groups, "levels cost sortable")


def _row(
    lookup: Lookup, pareto: Pareto, place: Place, result: FormatResult, numbers: dict[Place, int], notes: Notes
) -> Row:
    one, many = pareto.latency(place), pareto.latency(place, _MANY)
    timed = (*_timed(one, notes), *_timed(many, notes), _each(many)) if pareto.timed else ()
    cells = (
        _accuracy(lookup, result),
        _size(result),
        _zeros(result.quality, notes),
        *timed,
        _dominated_by(lookup, pareto, place, notes),
    )
    return Row(Cell(f"{numbers[place]} {lookup.label(place)}", code=True), cells)


def _size(result: FormatResult) -> Cell:
    if result.artifact is None:
        return EMPTY
    compressed = file_size(result.quality.compressed_bytes) if result.quality else ""
    return Cell(file_size(result.artifact.bytes), compressed, sort=result.artifact.bytes)


def _accuracy(lookup: Lookup, result: FormatResult) -> Cell:
    if result.accuracy is None:
        return EMPTY
    low, high = accuracy_interval(result.accuracy.test, lookup.audit.population.nonmembers)
    return Cell(percent(result.accuracy.test), f"[{100 * low:.1f}, {100 * high:.1f}]", sort=result.accuracy.test)


def _zeros(quality: Quality | None, notes: Notes) -> Cell:
    if quality is None:
        return EMPTY
    if quality.sparsity is None:
        why = quality.note or "the file has no weights"
        return Cell("not known", tone="muted", note=notes.number(why), why=why)
    return Cell(percent(quality.sparsity), f"of {quality.weights:,}", sort=quality.sparsity)


def _timed(row: Latency | None, notes: Notes) -> tuple[Cell, Cell]:
    if row is None:
        return EMPTY, EMPTY
    if row.median_ms is None or row.p95_ms is None:
        why = row.note or ""
        return Cell("n/a", tone="muted", note=notes.number(why) if why else None, why=why), EMPTY
    busy = row.cpu_share is not None and row.cpu_share < BUSY
    why = _DISTURBED if busy else ""
    number = notes.number(why) if busy else None
    return (
        Cell(
            milliseconds(row.median_ms),
            _bounds(row.median_low, row.median_high),
            note=number,
            why=why,
            sort=row.median_ms,
        ),
        Cell(milliseconds(row.p95_ms), _bounds(row.p95_low, row.p95_high), sort=row.p95_ms),
    )


def _each(row: Latency | None) -> Cell:
    return EMPTY if row is None or row.record_ms is None else Cell(milliseconds(row.record_ms), sort=row.record_ms)


def _bounds(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "" if low is None else f"at least {milliseconds(low)}"
    return f"[{milliseconds(low)}, {milliseconds(high)}]"


def _dominated_by(lookup: Lookup, pareto: Pareto, place: Place, notes: Notes) -> Cell:
    if not pareto.takes_part(place):
        return Cell("the reference", tone="muted")
    by = pareto.dominated[place]
    if not by and pareto.untimed:
        judged = place not in pareto.untimed
        why = _SOME_NOT_JUDGED if judged else _NOT_JUDGED
        return Cell("none known" if judged else "not known", tone="muted", note=notes.number(why), why=why)
    if not by:
        return Cell("none", tone="good")
    shown = by[:_SHOWN]
    more = f" and {len(by) - _SHOWN} more" if len(by) > _SHOWN else ""
    first: Domination = shown[0]
    return Cell(", ".join(lookup.label(d.by) for d in shown) + more, f"it is {listed(list(first.wins))}")


def _plots(lookup: Lookup, pareto: Pareto, numbers: dict[Place, int]) -> list[Plot]:
    leaks = _leaks(lookup)
    if len(leaks) < 2:
        return []
    axes: list[tuple[str, str, str, Callable[[Place], float | None], bool]] = [
        ("Test accuracy", "test accuracy", "lower right is better", lambda place: _test(lookup.formats[place]), False),
        ("Size", "size, kB", "lower left is better", lambda place: _kilobytes(lookup.formats[place]), True),
        ("Latency, 1 record", "median, ms", "lower left is better", lambda place: _median(pareto.latency(place)), True),
    ]
    panels = []
    for n, (title, name, better, x_of, is_log) in enumerate(axes):
        known = {place: x for place in leaks if (x := x_of(place)) is not None}
        if len(known) < 2:
            continue
        points = [
            plots.Point(x, *leaks[place], str(numbers[place]), _kind(pareto, place)) for place, x in known.items()
        ]
        label = f"AUC against {title.lower()} of {len(points)} formats, numbered as in the table; {better}."
        svg = plots.pareto_panel(points, name, f"pareto{n}", label, log=is_log)
        panels.append(Plot(f"AUC and {title.lower()}", better, Markup(svg)))  # noqa: S704 - made by plots, which escapes the label
    return panels


def _kind(pareto: Pareto, place: Place) -> plots.PointKind:
    if not pareto.takes_part(place):
        return "reference"
    return "dominated" if pareto.dominated[place] else "kept"


def _leaks(lookup: Lookup) -> dict[Place, tuple[float, float, float]]:
    """Return the headline AUC with its interval; the mean over targets where there are several."""
    rows = dict(lookup.ranked())
    means = lookup.mean_aucs(rows)
    figures = {}
    for place, row in rows.items():
        figure = means[place] if means else row
        if figure.value is not None:
            low = figure.value if figure.low is None else figure.low
            high = figure.value if figure.high is None else figure.high
            figures[place] = (low, figure.value, high)
    return {place: figures[place] for place, _ in lookup.ok() if place in figures}


def _test(result: FormatResult) -> float | None:
    return None if result.accuracy is None else result.accuracy.test


def _kilobytes(result: FormatResult) -> float | None:
    return None if result.artifact is None else result.artifact.bytes / 1e3


def _median(row: Latency | None) -> float | None:
    return None if row is None else row.median_ms
