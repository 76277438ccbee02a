"""Tables of comparisons, means over targets, and the calibration of p-values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from edgeaudit.report.lookup import AUC, SMALL_TPR, TPR, Lookup, Place, series_label, unique
from edgeaudit.report.model import AcrossTargets, Comparison, PCalibration
from edgeaudit.report.tables import EMPTY, Cell, Head, Notes, Row, Table, heat, labelled
from edgeaudit.report.words import (
    NOT_RESOLVABLE,
    chance,
    counted,
    difference,
    difference_interval,
    figure,
    interval,
    metric_name,
    percent,
)

__all__ = [
    "NOMINAL_TAIL",
    "RANKING",
    "SIGNIFICANT",
    "attack_comparison_tables",
    "calibration_tables",
    "format_tables",
    "match_tables",
    "mean_tables",
    "over",
    "significant",
]

SIGNIFICANT = 0.05
RANKING = "ranking, not a p-value"
NOMINAL_TAIL = "nominal tail: a ranking, not a p-value"
_MAIN_METRICS = (AUC, TPR)
_BASELINES = ("lira", "rmia")
_MOST_OTHERS = 8
_STATUS_TONES = {"anti-conservative": "bad", "calibrated": "good", "conservative": "good", "not resolvable": "muted"}
_MEAN_METRICS = (AUC, TPR, SMALL_TPR, "balanced_accuracy")


def significant(row: Comparison) -> bool:
    """Return whether the difference is significant after Holm's adjustment."""
    return row.value is not None and row.adjusted_p is not None and row.adjusted_p <= SIGNIFICANT


def over(rows: Iterable[Comparison]) -> str:
    """Name the unit of a comparison's interval: the records of one target, or targets."""
    targets = max((row.targets for row in rows), default=0)
    return f"over {counted(targets, 'target')}" if targets > 1 else "over the records of one target"


def _number(row: Comparison, notes: Notes) -> tuple[int | None, str]:
    why = row.note or ""
    return (notes.number(why) if why else None), why


def _difference(row: Comparison | None, notes: Notes, tone: str = "") -> Cell:
    """Return the difference, with its interval as the detail."""
    if row is None:
        return EMPTY
    number, why = _number(row, notes)
    if row.value is None:
        return Cell(NOT_RESOLVABLE, tone="muted", note=number, why=why)
    text = difference(row.metric, row.value)
    return Cell(text, difference_interval(row.metric, row.low, row.high), tone, number, why)


def _side(row: Comparison | None, value: float | None) -> Cell:
    return EMPTY if row is None or value is None else Cell(figure(row.metric, value))


def _p(row: Comparison | None) -> Cell:
    return EMPTY if row is None or row.adjusted_p is None else Cell(chance(row.adjusted_p))


def _in_words(row: Comparison | None, more: Cell, less: Cell) -> Cell:
    if row is None or row.value is None:
        return EMPTY
    if row.adjusted_p is None:
        return Cell("not tested", tone="muted")
    if not significant(row):
        return Cell("no difference found", tone="muted")
    return more if row.value > 0 else less


def _by_place(rows: Iterable[Comparison]) -> dict[Place, dict[str, Comparison]]:
    by_place: dict[Place, dict[str, Comparison]] = {}
    for row in rows:
        by_place.setdefault(Place(row.format, row.device), {}).setdefault(row.metric, row)
    return by_place


def _of(lookup: Lookup, kind: str) -> list[Comparison]:
    return [row for row in lookup.audit.comparisons if row.kind == kind]


def format_tables(lookup: Lookup) -> list[Table]:
    """Compare every format with the reference: AUC and TPR at 1% FPR, and a second table of the TPR at 0.1% FPR."""
    rows = _of(lookup, "format")
    tables = (_format_table(lookup, rows, metrics) for metrics in (_MAIN_METRICS, (SMALL_TPR,)))
    return [table for table in tables if table is not None]


def _format_table(lookup: Lookup, rows: list[Comparison], metrics: Sequence[str]) -> Table | None:
    metrics = [m for m in metrics if any(row.metric == m for row in rows)]
    compared_rows = [row for row in rows if row.metric in metrics]
    if not any(row.value is not None for row in compared_rows):
        return None
    notes, places = Notes(), _by_place(compared_rows)
    made = []
    for place, by_metric in places.items():
        cells: list[Cell] = []
        for metric in metrics:
            row = by_metric.get(metric)
            reference = row.second if row else ""
            more, less = (Cell(f"leaks {w} than {reference}", tone=t) for w, t in (("more", "bad"), ("less", "good")))
            cells += [_difference(row, notes), _in_words(row, more, less), _p(row)]
        made.append(labelled(lookup, place, cells))
    heads = [head for _ in metrics for head in (Head("difference"), Head("in words", align="text"), Head("adjusted p"))]
    groups = (Head("", align="text"), *(Head(metric_name(m), span=3, align="group") for m in metrics))
    first = compared_rows[0]
    names = " and ".join(metric_name(m) for m in metrics)
    caption = f"{names} minus {first.second}'s, by {series_label(first.series)}, {over(compared_rows)}"
    return Table(caption, (Head("Format", align="text"), *heads), tuple(made), tuple(notes.texts), groups, "words")


def match_tables(lookup: Lookup) -> tuple[Table | None, list[Table]]:
    """Compare matched with fp32 shadows: headline, LiRA and RMIA side by side, and a table for every attack."""
    rows = _of(lookup, "shadow match")
    series = unique(row.series for row in rows)
    shown = [name for name in series if name == _headline(lookup, series)]
    for attack in _BASELINES:
        shown += [name for name in series if name.partition("/")[0] == attack][:1]
    shown = unique(shown or series[:1])
    return _match_overview(lookup, rows, shown), [
        _match_table(lookup, [row for row in rows if row.series == name], name) for name in series
    ]


def _headline(lookup: Lookup, series: list[str]) -> str:
    """Return the headline series, or the first of the audit's headlines that was compared."""
    if lookup.headline_name in series:
        return lookup.headline_name
    return next((name for name in lookup.headlines if name in series), "")


def _match_overview(lookup: Lookup, rows: list[Comparison], shown: list[str]) -> Table | None:
    if not rows:
        return None
    notes = Notes()
    by_series = {name: _by_place(row for row in rows if row.series == name) for name in shown}
    made = []
    for place in unique(place for by_metric in by_series.values() for place in by_metric):
        cells = []
        for name in shown:
            by_metric = by_series[name].get(place, {})
            for metric in _MAIN_METRICS:
                row = by_metric.get(metric)
                tone = "sure" if row is not None and significant(row) else "muted"
                cells.append(_difference(row, notes, tone))
        made.append(labelled(lookup, place, cells))
    heads = [Head(metric_name(m)) for _ in shown for m in _MAIN_METRICS]
    groups = (Head("", align="text"), *(Head(series_label(name), span=2, align="group") for name in shown))
    compared = [row for row in rows if row.series in shown]
    caption = (
        f"Figures with {compared[0].first} shadows minus figures with {compared[0].second} shadows, {over(compared)}"
    )
    return Table(caption, (Head("Format", align="text"), *heads), tuple(made), tuple(notes.texts), groups)


def _match_table(lookup: Lookup, rows: list[Comparison], name: str) -> Table:
    notes = Notes()
    metrics = [m for m in _MAIN_METRICS if any(row.metric == m for row in rows)]
    made = []
    for place, by_metric in _by_place(rows).items():
        cells: list[Cell] = []
        for metric in metrics:
            row = by_metric.get(metric)
            sides = [_side(row, row.first_value if row else None), _side(row, row.second_value if row else None)]
            cells += [*sides, _difference(row, notes), _p(row)]
        made.append(labelled(lookup, place, cells))
    first = rows[0]
    heads = [Head(text) for _ in metrics for text in (first.first, first.second, "difference", "adjusted p")]
    groups = (Head("", align="text"), *(Head(metric_name(m), span=4, align="group") for m in metrics))
    caption = f"{series_label(name)}: {first.first} shadows against {first.second}"
    return Table(caption, (Head("Format", align="text"), *heads), tuple(made), tuple(notes.texts), groups)


def attack_comparison_tables(lookup: Lookup) -> list[tuple[str, Table]]:
    """Return (format, table) of the headline attack against every other; the format that leaks most comes first."""
    rows = _of(lookup, "attack")
    most = lookup.most_leaking()
    keys = unique((Place(row.format, row.device), row.shadow_match) for row in rows)
    reported_match = next((match for _, match in keys), "")
    keys.sort(key=lambda key: (key[1] != reported_match, key[0] != most))
    tables = []
    for place, match in keys:
        name = lookup.label(place) + ("" if match == reported_match else f", {match} shadows")
        matching = [row for row in rows if (Place(row.format, row.device), row.shadow_match) == (place, match)]
        tables.append((name, _attack_table(name, matching)))
    return tables


def _attack_table(name: str, rows: list[Comparison]) -> Table:
    notes = Notes()
    metrics = [m for m in _MAIN_METRICS if any(row.metric == m for row in rows)]
    others: dict[str, dict[str, Comparison]] = {}
    for row in rows:
        others.setdefault(row.second, {}).setdefault(row.metric, row)
    made = []
    for other, by_metric in sorted(others.items(), key=lambda item: _strongest_first(item[1])):
        cells: list[Cell] = []
        for metric in metrics:
            comparison = by_metric.get(metric)
            ours, theirs = Cell(series_label(rows[0].first), tone="sure"), Cell(series_label(other), tone="warn")
            cells += [_difference(comparison, notes), _in_words(comparison, ours, theirs), _p(comparison)]
        made.append(Row(Cell(series_label(other), code=True), tuple(cells)))
    heads = [
        head
        for _ in metrics
        for head in (Head("difference"), Head("stronger attack", align="text"), Head("adjusted p"))
    ]
    groups = (Head("", align="text"), *(Head(metric_name(m), span=3, align="group") for m in metrics))
    caption = f"{name}: {series_label(rows[0].first)} minus the other attack, {over(rows)}"
    heads = [Head("Other attack", align="text"), *heads]
    return Table(caption, tuple(heads), tuple(made), tuple(notes.texts), groups, "words")


def _strongest_first(by_metric: dict[str, Comparison]) -> tuple[bool, float]:
    """Sort key: the strongest other attack first, attacks without a figure last."""
    row = by_metric.get(AUC)
    return (True, 0.0) if row is None or row.value is None else (False, row.value)


class _Test(NamedTuple):
    """One test on known nonmembers of one source; conformal p-values sort before nominal tails."""

    nominal: bool
    attack: str
    variant: str
    shadow_match: str
    source: str

    @property
    def head(self) -> Cell:
        match = "" if self.shadow_match in {"matched", "-"} else f", {self.shadow_match} shadows"
        return Cell(
            series_label(f"{self.attack}/{self.variant}") + match,
            NOMINAL_TAIL if self.nominal else "conformal p-value",
            code=True,
        )


def _test(row: PCalibration) -> _Test:
    return _Test(row.kind == "nominal", row.attack, row.variant, row.shadow_match, row.source)


def calibration_tables(lookup: Lookup) -> tuple[Table | None, list[tuple[str, Table]]]:
    """Calibration of p-values: an overview over all formats (if several), and (format, table) of each.

    The overview has every test; the tables of several formats leave out nominal tails, which are no p-values.
    """
    rows = lookup.audit.p_calibration
    if not rows:
        return None, []
    places = unique(Place(row.format, row.device) for row in rows)
    if len(places) == 1:
        return _calibration_table(lookup.label(places[0]), list(rows)), []
    conformal = [(p, [r for r in rows if Place(r.format, r.device) == p and r.kind != "nominal"]) for p in places]
    tables = [(lookup.label(p), _calibration_table(lookup.label(p), of)) for p, of in conformal if of]
    return _calibration_overview(rows), tables


def _tests(rows: Sequence[PCalibration]) -> list[_Test]:
    """Conformal p-values first, then in the audit's order; the two sources of a test are adjacent."""
    names = unique(_test(row)[:4] for row in rows)
    order = sorted(names, key=lambda name: (name[0], name[3] not in {"matched", "-"}))
    present = set(map(_test, rows))
    return [
        test for name in order for source in ("nonmembers", "null target") if (test := _Test(*name, source)) in present
    ]


def _calibration_overview(rows: Sequence[PCalibration]) -> Table:
    levels = sorted({row.nominal for row in rows})
    grid: dict[tuple[_Test, float], list[PCalibration]] = {}
    for row in rows:
        grid.setdefault((_test(row), row.nominal), []).append(row)
    made = [
        Row(test.head, (Cell(test.source), *(_overview_cell(grid.get((test, level), [])) for level in levels)))
        for test in _tests(rows)
    ]
    places = len(unique((row.format, row.device) for row in rows))
    caption = (
        f"Of {counted(places, 'format')}, those in which at most a share a of known nonmembers has p at or below a"
    )
    return Table(caption, _calibration_heads(levels), tuple(made), classes="levels")


def _calibration_heads(levels: list[float]) -> tuple[Head, ...]:
    return (
        Head("Test", align="text"),
        Head("Evaluated on", align="text"),
        *(Head(f"a = {level:g}", align="text") for level in levels),
    )


def _overview_cell(rows: list[PCalibration]) -> Cell:
    """Count the formats in which a test is valid; for a nominal tail, those with too many false positives."""
    if not rows:
        return EMPTY
    counts = Counter(row.status for row in rows)
    fires, unclear = counts["anti-conservative"], counts["not resolvable"]
    resolved = len(rows) - unclear
    further = [f"{unclear} not resolvable"] if unclear else []
    if not resolved:
        return Cell(NOT_RESOLVABLE, tone="muted")
    if rows[0].kind == "nominal":
        detail = ", ".join([f"in {fires} of {resolved}", *further])
        return Cell("anti-conservative", detail, "warn" if fires else "muted")
    if fires:
        further.insert(0, f"anti-conservative in {fires}")
    tone = "good" if not fires else "warn" if 2 * fires <= resolved else "bad"
    return Cell(f"valid in {resolved - fires} of {resolved}", ", ".join(further), tone)


def _status_tone(status: str, row: PCalibration) -> str:
    """Return a status' tone. A nominal tail is never a p-value, so its false positives are no fault of the audit."""
    if row.kind == "conformal":
        return _STATUS_TONES[status]
    return "warn" if status == "anti-conservative" else "muted"


def _calibration_table(name: str, rows: Sequence[PCalibration]) -> Table:
    notes = Notes()
    levels = sorted({row.nominal for row in rows})
    grid = {(_test(row), row.nominal): row for row in rows}
    made = []
    for test in _tests(rows):
        by_level = [grid.get((test, level)) for level in levels]
        first = next(row for row in by_level if row is not None)
        evaluated_on = Cell(test.source, f"{first.n:,} over {counted(first.targets, 'target')}")
        is_labelled = test.nominal or first.is_p_value
        head = test.head if is_labelled else replace(test.head, detail=f"{RANKING}: not valid here")
        made.append(Row(head, (evaluated_on, *(_observed(row, notes) for row in by_level))))
    caption = f"{name}: observed share of known nonmembers with p at or below a"
    return Table(caption, _calibration_heads(levels), tuple(made), tuple(notes.texts), classes="levels")


def _observed(row: PCalibration | None, notes: Notes) -> Cell:
    if row is None:
        return EMPTY
    number = notes.number(row.note) if row.note else None
    range_ = interval(TPR, row.low, row.high)
    band = interval(TPR, row.band_low, row.band_high)
    detail = "\n".join(part for part in (range_, f"valid: {band}" if band else "", row.status) if part)
    return Cell(percent(row.observed), detail, _status_tone(row.status, row), number, row.note or "")


def mean_tables(lookup: Lookup) -> tuple[Table | None, list[Table]]:
    """Return means over targets: the headline's figures, and a table of other attacks."""
    names = lookup.mean_series()
    if not names:
        return None, []
    notes = Notes()
    metrics = [m for m in _MEAN_METRICS if any(lookup.mean(p, names[0], m) for p, _ in lookup.ok())]
    rows = [labelled(lookup, p, [_mean(lookup.mean(p, names[0], m), notes) for m in metrics]) for p, _ in lookup.ok()]
    heads = (Head("Format", align="text"), *(Head(metric_name(m)) for m in metrics))
    caption = f"Mean over {counted(lookup.targets, 'target')}, {series_label(names[0])}, all records, 95% t intervals"
    table = Table(caption, heads, tuple(rows), tuple(notes.texts))
    return table, list(_other_means(lookup, names[0], names[1:]))


def _other_means(lookup: Lookup, own: str, names: list[str]) -> Iterator[Table]:
    """Return AUC and TPR at 1% FPR of the headline and of the first variant of every other attack."""
    firsts = {name.partition("/")[0]: name for name in reversed(names)}
    firsts.pop(own.partition("/")[0], None)
    shown = [own, *(name for name in names if name in firsts.values())][:_MOST_OTHERS]
    if len(shown) < 2:
        return
    for metric in _MAIN_METRICS:
        notes = Notes()
        rows = [
            labelled(lookup, p, [_mean(lookup.mean(p, name, metric), notes, tint=True) for name in shown])
            for p, _ in lookup.ok()
        ]
        heads = (Head("Format", align="text"), *(Head(series_label(name)) for name in shown))
        caption = f"{metric_name(metric)}, mean over {counted(lookup.targets, 'target')}"
        yield Table(caption, heads, tuple(rows), tuple(notes.texts), classes="matrix")


def _mean(mean: AcrossTargets | None, notes: Notes, *, tint: bool = False) -> Cell:
    if mean is None or mean.value is None:
        if mean is None:
            return EMPTY
        number = notes.number(mean.note) if mean.note else None
        return Cell(NOT_RESOLVABLE, tone="muted", note=number, why=mean.note or "")
    missing = f"{mean.missing} of {mean.missing + mean.targets} targets have no figure" if mean.missing else ""
    why = mean.note or missing
    return Cell(
        figure(mean.metric, mean.value),
        interval(mean.metric, mean.low, mean.high),
        note=notes.number(why) if why else None,
        why=why,
        heat=heat(mean.metric, mean.value) if tint else None,
    )
